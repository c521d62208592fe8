"""The demo's worker: ``python -m orchestrator.demo.worker URL``. The address is all that it is told."""

from __future__ import annotations

import sys
from typing import Final

from workersdk import Worker

from orchestrator.demo.lifeline import stop_with_parent
from orchestrator.demo.steps import HANDLERS

CONCURRENCY: Final = 2
DRAIN_SECONDS: Final = 2.0
"""How long a step may go on after the demo was told to end; the next start of the demo goes on with it."""


def main(url: str) -> None:
    """Do the demo's steps until told to stop."""
    stop_with_parent()
    worker = Worker(concurrency=CONCURRENCY, drain_timeout=DRAIN_SECONDS)
    for action, handler in HANDLERS.items():
        worker.register(action, handler)
    worker.start(url)


if __name__ == "__main__":
    main(sys.argv[1])
