"""What goes wrong with the file, in the words of the model."""

from __future__ import annotations

import sqlite3
from typing import Final

from orchestrator.model.errors import NotWritable, Unavailable

_NOT_WRITABLE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})
_PRIMARY: Final = 0xFF
"""The part of an error's code that says its kind; what is above says more of it."""


def translate(error: sqlite3.Error) -> Unavailable:
    """Say what a failure means."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in _NOT_WRITABLE:
        return NotWritable(f"the store takes nothing: {error}")
    return Unavailable(f"the store failed: {error}")
