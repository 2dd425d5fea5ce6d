"""A notice that compiling takes a while, for users who wait for a first fit."""

import logging
import sys
import threading
import time

from numba.core import event

DELAY = 2.0  # seconds of compilation after which the user is told
NOTICE = (
    "sklearn_mf is compiling its inner loops for this machine. This happens once and "
    "takes some seconds; `python -m sklearn_mf.precompile` does it in advance."
)
logger = logging.getLogger("sklearn_mf")


class CompilationNotice(event.Listener):
    """Tells the user once per process that functions of the library are compiled.

    It listens to the events of numba, which compiles in one thread at a time. Code that
    is read from the cache on disk makes no event.

    Parameters
    ----------
    delay : float
        Seconds of compilation, all functions together, after which the user is told.
    """

    def __init__(self, delay):
        self.delay = delay
        self.told = False
        self.depth = 0  # a function compiles those that it calls
        self.spent = 0.0
        self.timer = None

    def on_start(self, event):
        """Start the clock when a function of the library begins to compile."""
        function = event.data["dispatcher"].py_func
        if self.depth or function.__module__.startswith("sklearn_mf."):
            self.depth += 1
        if self.depth == 1 and not self.told:
            self.begin = time.perf_counter()
            wait = max(self.delay - self.spent, 0.0)
            self.timer = threading.Timer(wait, self._tell)
            self.timer.daemon = True
            self.timer.start()

    def on_end(self, event):
        """Stop the clock when the outermost function is compiled."""
        if self.depth == 1 and self.timer is not None:
            self.timer.cancel()
            self.timer.join()
            self.timer = None
            self.spent += time.perf_counter() - self.begin
        self.depth = max(self.depth - 1, 0)

    def _tell(self):
        self.told = True
        if logger.isEnabledFor(logging.INFO):
            logger.info(NOTICE)
        elif logger.level == logging.NOTSET and is_watched():
            print(NOTICE, file=sys.stderr)


def is_watched():
    """Tell whether a person is likely to see what is written to the standard error."""
    in_notebook = "ipykernel" in sys.modules
    return in_notebook or (sys.stderr is not None and sys.stderr.isatty())


def announce_compilation():
    """Let the user know of compilations that take longer than `DELAY` seconds."""
    event.register("numba:compile", CompilationNotice(DELAY))
