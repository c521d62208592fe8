"""The worker of the benchmarks: a no-op handler for every action."""

from __future__ import annotations

import sys

from workersdk import Worker


async def noop(payload: object) -> object:
    """Give back what came."""
    return payload


def main() -> None:
    """Serve ``noop-0`` to ``noop-<count - 1>`` at a URL."""
    url, count = sys.argv[1], int(sys.argv[2])
    worker = Worker(concurrency=1_000)
    for number in range(count):
        worker.register(f"noop-{number}", noop)
    worker.start(url)


if __name__ == "__main__":
    main()
