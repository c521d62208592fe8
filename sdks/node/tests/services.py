"""Start the servers that tests ask for (`embedded`, `distributed`), say where they are, stop them when stdin ends.

The one line on stdout is a JSON object of variables for the tests.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from stack.application import Orchestrator  # noqa: E402
from stack.kafka import Kafka  # noqa: E402
from stack.ports import free_port  # noqa: E402
from stack.postgres import Postgres  # noqa: E402


def main(wanted: list[str]) -> None:
    told = {"TEST_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory(prefix="workersdk-node-") as name, ExitStack() as running:
        folder = Path(name)
        # PostgreSQL runs as a user of its own.
        folder.chmod(0o755)
        if "embedded" in wanted:
            server = Orchestrator(folder / "embedded", free_port(), ["--memory"])
            told["TEST_EMBEDDED_URL"] = running.enter_context(server.running()).url
        if "distributed" in wanted:
            kafka = running.enter_context(Kafka(folder / "kafka", free_port()).running())
            postgres = running.enter_context(Postgres(folder / "postgres", free_port(), durable=False).running())
            flags = ["--database", postgres.url, "--kafka", kafka.url]
            told["TEST_KAFKA"] = kafka.url
            server = Orchestrator(folder / "distributed", free_port(), flags)
            told["TEST_DISTRIBUTED_URL"] = running.enter_context(server.running()).url
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
