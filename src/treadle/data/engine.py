"""The query engine for files of columns: one DuckDB in a process.

Making a DuckDB takes 20 ms of a processor, and another connection to one takes 10 µs.
"""

import atexit
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_lock = threading.Lock()
_engine: "DuckDBPyConnection | None" = None


@contextmanager
def query_engine() -> Iterator["DuckDBPyConnection"]:
    """Open a connection of one's own to the process's engine, and close it at the end.

    Tables that are made through it must be temporary: others are seen by all connections.
    """
    # The system knows this module for as long as the process lives: what it named would be kept,
    # and reported as leaked at the end.
    import duckdb

    global _engine
    with _lock:
        if _engine is None:
            _engine = duckdb.connect()
        connection = _engine.cursor()
    try:
        yield connection
    finally:
        connection.close()


@atexit.register
def _close() -> None:
    """End the engine while all that it needs is still there."""
    global _engine
    if _engine is not None:
        _engine.close()
        _engine = None


def _forget() -> None:
    """Leave the engine to the parent: its threads are not in a forked process.

    It is not even destroyed there, which would wait for them.
    """
    global _engine, _lock
    if _engine is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_engine))
    _engine, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
