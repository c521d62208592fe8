"""``make conformance``: the kit, played on the SDKs of this checkout over both transports, and the matrix of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from orchestrator.cli.conformance.play import chosen, play_all
from orchestrator.cli.conformance.report import show, tell
from orchestrator.cli.conformance.site import Transport
from orchestrator.cli.failure import Failure
from orchestrator.cli.failure import show as show_failure
from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres
from tests.conformance.workers import TRANSPORTS, WORKERS


def main() -> int:
    """Play; give the exit code."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--worker", action="append", choices=WORKERS, help="this one only; may be repeated")
    parser.add_argument("--transport", action="append", choices=("http", "kafka"), help="this one only")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", help="may have *; may be repeated")
    parser.add_argument("--logs", type=Path, help="a folder to keep logs and journals in")
    arguments = parser.parse_args()
    names = arguments.worker or list(WORKERS)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="conformance-") as temporary:
        folder = Path(temporary)
        kafka, postgres = (
            kind(folder / name, free_port()) for kind, name in ((Kafka, "kafka"), (Postgres, "postgres"))
        )

        def restart_broker() -> None:
            kafka.kill()
            kafka.start()

        with kafka.running(), postgres.running():
            transports: tuple[Transport, ...] = ("http", "kafka")
            for transport in transports:
                workers = {name: WORKERS[name] for name in names if transport in TRANSPORTS[name]}
                if transport not in (arguments.transport or transports) or not workers:
                    continue
                matrix = play_all(
                    workers,
                    [transport],
                    chosen(arguments.only),
                    arguments.logs or folder / "logs",
                    database=postgres.url,
                    kafka=kafka.url,
                    restart_broker=restart_broker,
                    tell=tell,
                )
                failed += show(matrix)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        show_failure(failure)
        sys.exit(failure.code)
