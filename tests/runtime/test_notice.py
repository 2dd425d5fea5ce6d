"""Users are told once that functions of the library are being compiled."""

import logging
import threading
import time
from types import SimpleNamespace

import numba
import pytest
from numba.core.event import Event, EventStatus

from sklearn_mf._runtime import notice
from sklearn_mf._runtime.notice import NOTICE, CompilationNotice


def compile_for(listener, seconds, module="sklearn_mf._solvers.als.kernels"):
    """Let a listener hear that a function is compiled, which calls another one."""
    function = SimpleNamespace(py_func=SimpleNamespace(__module__=module))
    inner = SimpleNamespace(py_func=SimpleNamespace(__module__="elsewhere"))
    data = [{"dispatcher": function}, {"dispatcher": inner}]
    for each in data:
        listener.notify(Event("numba:compile", EventStatus.START, each))
    time.sleep(seconds)
    for each in reversed(data):
        listener.notify(Event("numba:compile", EventStatus.END, each))


@pytest.fixture
def watched(monkeypatch):
    """Let the tests look like a terminal."""
    monkeypatch.setattr(notice, "is_watched", lambda: True)


@pytest.mark.usefixtures("watched")
def test_the_notice_is_given_once_and_no_thread_remains(capsys):
    listener, n_threads = CompilationNotice(0.2), threading.active_count()
    compile_for(listener, 0.0)
    assert capsys.readouterr().err == ""
    for _ in range(3):
        compile_for(listener, 0.12)  # together they take longer than the delay
    assert capsys.readouterr().err == NOTICE + "\n"
    compile_for(listener, 0.3)
    assert capsys.readouterr().err == ""
    assert threading.active_count() == n_threads


@pytest.mark.usefixtures("watched")
def test_functions_of_others_and_short_compilations_are_not_announced(capsys):
    compile_for(CompilationNotice(0.05), 0.2, module="users_own_module")
    compile_for(CompilationNotice(5.0), 0.05)
    assert capsys.readouterr().err == ""


def test_nothing_is_printed_where_nobody_watches(capsys):
    compile_for(CompilationNotice(0.0), 0.1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("watched")
def test_the_logger_takes_the_notice_or_silences_it(capsys, caplog):
    with caplog.at_level(logging.INFO, logger="sklearn_mf"):
        compile_for(CompilationNotice(0.0), 0.1)
    assert [record.getMessage() for record in caplog.records] == [NOTICE]
    with caplog.at_level(logging.WARNING, logger="sklearn_mf"):
        compile_for(CompilationNotice(0.0), 0.1)
    assert len(caplog.records) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_numba_tells_of_the_compilations_of_the_library():
    names = []

    class Recorder(CompilationNotice):
        def on_start(self, event):
            names.append(event.data["dispatcher"].py_func.__module__)

    with numba.core.event.install_listener("numba:compile", Recorder(9.0)):
        numba.njit(lambda x: x + 1)(1)
    assert names == [__name__]
