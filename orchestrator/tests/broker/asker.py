"""Asks a cluster what waits and how far workers are, in a process of its own: ``python -m tests.broker.asker SERVERS``.

A line for each answer; ends when its input does.
"""

from __future__ import annotations

import sys
import threading

from orchestrator.adapters.kafka.backlog import Backlog
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.adapters.kafka.readers import Readers
from orchestrator.model.errors import Unavailable


def main(servers: str) -> None:
    """Ask until nobody listens."""
    is_over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=listen, daemon=True).start()
    config = KafkaConfig(servers=servers)
    while not is_over.is_set():
        # New ones each time: who has just begun knows no coordinator.
        groups = Groups(config)
        backlog, readers = Backlog(config, groups), Readers(config, groups)
        try:
            taken, strangers = readers.taken(["read", "unread"]), readers.strangers()
            print(f"{backlog.count()} wait, {taken} are taken, {strangers} are there", flush=True)  # noqa: T201 - the same
        except Unavailable as error:
            print(f"no answer: {error}", flush=True)  # noqa: T201 - what it is for
        groups.close()


if __name__ == "__main__":
    main(sys.argv[1])
