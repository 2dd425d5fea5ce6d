"""What tests of several files check or do in the same way."""

import copy
import inspect
import sys
import threading
from contextlib import contextmanager

import numpy as np


def sklearn_mf_threads():
    """Return the names of the library's threads that are alive."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("sklearn_mf")]


def fitted_attributes(model):
    """Return the fitted attributes of a model by name, or such a dict as it is."""
    if isinstance(model, dict):
        return model
    return {name: value for name, value in vars(model).items() if name[-1] == "_"}


def arrays_of(value):
    """Yield all arrays of a fitted attribute, or of a dict of them."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_of(item)


def curve_of(model):
    """Return the objective after each iteration."""
    curve = model.loss_curve_
    return curve["joint"] if isinstance(curve, dict) else curve


def assert_same(value, other, name=""):
    """Check that two values have the same types and bits.

    A scalar of NumPy is the same as one of Python, and a mapped array as another.
    """
    value, other = map(_as_plain, (value, other))
    assert type(value) is type(other), name
    if isinstance(value, dict):
        assert list(value) == list(other), name
        for key in value:
            assert_same(value[key], other[key], f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        assert len(value) == len(other), name
        for at, (item, other_item) in enumerate(zip(value, other, strict=True)):
            assert_same(item, other_item, f"{name}[{at}]")
    elif isinstance(value, np.ndarray):
        assert (value.dtype, value.shape) == (other.dtype, other.shape), name
        if value.dtype == object:
            assert_same(value.tolist(), other.tolist(), name)
        else:
            assert value.tobytes() == other.tobytes(), name
    else:
        assert repr(value) == repr(other), name


def _as_plain(value):
    if isinstance(value, np.generic):
        return value.item()
    return np.asarray(value) if isinstance(value, np.memmap) else value


def assert_same_bits(model, other, but=()):
    """Check that two estimators have learnt the same, to the last bit.

    Each is an estimator or a dict of fitted attributes. Those named by `but` may
    differ, or be missing.
    """
    one, two = fitted_attributes(model), fitted_attributes(other)
    assert one.keys() - set(but) == two.keys() - set(but)
    for name in one.keys() - set(but):
        assert_same(one[name], two[name], name)


def assert_same_model(model, loaded):
    """Check that a model that was read from a file is the same as the one saved.

    Its arrays must be like those of a fit: contiguous, and free to be changed.
    """
    assert type(model) is type(loaded)
    assert list(vars(model)) == list(vars(loaded))
    for name, value in vars(model).items():
        if name[0] != "_":
            assert_same(value, getattr(loaded, name), name)
    for array in arrays_of(fitted_attributes(loaded)):
        assert array.flags.c_contiguous
        assert array.flags.writeable


@contextmanager
def left_as_it_was(model):
    """Check that the block leaves every attribute in place, and its bits."""
    vars(model).setdefault("_kept", {})  # what rankings compute from it may be kept
    before = dict(vars(model))
    kept = copy.deepcopy({name: before[name] for name in before if name[0] != "_"})
    yield
    assert list(vars(model)) == list(before)
    for name, value in before.items():
        assert getattr(model, name) is value, name
    for name, value in kept.items():
        assert_same(getattr(model, name), value, name)


class Recorder:
    """A callback that notes the events of a fit, and acts at the end of an iteration.

    Parameters
    ----------
    at : int
        The iteration, counted from 1, at whose end `act` is called.
    act : callable
        What it returns is what the callback returns: true asks the fit to stop.

    Attributes
    ----------
    events : list of (str, str, int)
        Kind of event, name of the task, and its number.
    contexts, data : lists
        The context of each event, and (X, y, metadata) of those that have them.
    models : list
        The estimator as it stood at the end of each iteration.
    """

    def __init__(self, at=None, act=None):
        self.at = at
        self.act = act
        self.events = []
        self.contexts = []
        self.data = []
        self.models = []

    def setup(self, estimator, context):
        self._note("setup", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self._note("begin", context)
        self.data.append((X, y, metadata))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator
    ):
        self._note("end", context)
        self.data.append((X, y, metadata))
        if context.task_name == "iteration":
            self.models.append(fitted_estimator)
            if len(self.models) == self.at:
                return self.act()
        return None

    def teardown(self, estimator, context):
        self._note("teardown", context)

    def _note(self, event, context):
        self.events.append((event, context.task_name, context.task_id))
        self.contexts.append(context)


def stop():
    """Ask a fit to stop, as the action of a `Recorder`."""
    return True


def interrupt():
    """Interrupt a fit as Ctrl-C does, as the action of a `Recorder`."""
    raise KeyboardInterrupt


def count_calls(function, *args, interrupt_at=None):
    """Run a function, and count the calls of the library's Python functions in it.

    Parameters
    ----------
    function : callable
        Called with `args`.
    interrupt_at : int or None
        The call, counted from 0, in whose place KeyboardInterrupt is raised.

    Returns
    -------
    int
        How many functions of sklearn_mf were called in this thread.
    """
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        if event != "call" or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # Python keeps to itself what a generator that is deleted raises
        if frame.f_globals.get("__name__", "").partition(".")[0] == "sklearn_mf":
            n_calls += 1
            if n_calls - 1 == interrupt_at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return n_calls
