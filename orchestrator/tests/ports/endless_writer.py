"""A process that writes runs until it is killed, and says each one that was committed. Run by `test_sqlite`."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from orchestrator.adapters.sqlite.database import Database
from tests.ports.places import opened_over
from tests.ports.scribe import Scribe, make_version

PAYLOAD_BYTES = 60_000


async def write(folder: Path, life: str) -> None:
    """Start two runs a transaction, complete a step of one, and take the other to its end."""
    store = opened_over(Database(folder), 10).store
    scribe = Scribe(make_version(life))
    await scribe.define(store)
    for number in itertools.count():
        payload = b'"%d %s"' % (number, b"x" * PAYLOAD_BYTES)
        changes = [scribe.start(payload, run_id=f"{life}-{number}-{which}") for which in "ab"]
        one, two = (change.state.run_id for change in changes)
        changes += [scribe.complete(one, payload), scribe.complete(two), scribe.complete(two, payload)]
        async with store.transaction() as tx:
            await tx.save(changes)
        sys.stdout.write(f"{one} {two}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
