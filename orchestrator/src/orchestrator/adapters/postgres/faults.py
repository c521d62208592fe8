"""What goes wrong between here and the server, in the words of the model."""

from __future__ import annotations

from typing import Final

import asyncpg

from orchestrator.model.errors import Contended, InvariantBroken, NotWritable, Unavailable

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""All that the driver raises; a timeout is an `OSError`."""

_RACES: Final = frozenset({"definitions_pkey", "idempotency_pkey"})
"""Keys that two processes may write at the same moment, each in the right."""
_LOST_RACES: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_NOT_WRITABLE: Final = (asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError)
_BUGS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


def translate(error: Exception) -> Unavailable | InvariantBroken:
    """Say what a failure of the driver means; `InvariantBroken` when the schema forbids what was written.

    A deadlock, a serialization failure or a key that another process wrote first is `Contended`: the server has taken
    the transaction back, and the same requests will be decided from what is true now.
    """
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name in _RACES:
        return Contended("another process wrote the same key first")
    if isinstance(error, _LOST_RACES):
        return Contended(f"another process was in the way: {error}")
    if isinstance(error, _BUGS):
        return InvariantBroken(f"the store was given what its schema forbids: {error}")
    if isinstance(error, _NOT_WRITABLE):
        return NotWritable(f"the store takes nothing: {error}")
    if isinstance(error, TimeoutError):
        return Unavailable("the store did not answer in time")
    return Unavailable(f"the store failed: {str(error) or type(error).__name__}")
