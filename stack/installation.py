"""`python -m stack.installation FOLDER`: all real parts and an orchestrator on free ports, until standard input ends.

For tests in other languages: one line of JSON says where Kafka (`kafka`) and the orchestrator (`url`) are. What is
written to standard input is done to the broker, and answered with the same line: `start`, `stop`, `kill`, `pause`,
`resume`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stack.application import Orchestrator
from stack.ports import free_port
from stack.settings import PORTS, Settings


def main() -> None:
    """Run until nobody writes to standard input any more, which is also so when who started it was killed."""
    folder = Path(sys.argv[1])
    settings = Settings(folder, {name: free_port() for name in PORTS}, native=True)
    broker, database, _ = settings.services()
    with broker.running(), database.running():
        flags = ["--database", database.url, "--kafka", broker.url]
        with Orchestrator(folder / "orchestrator", settings.ports["PORT"], flags).running() as server:
            print(json.dumps({"kafka": broker.url, "url": server.url}), flush=True)
            done = {verb: getattr(broker, verb) for verb in ("start", "stop", "kill", "pause", "resume")}
            for line in sys.stdin:
                done[line.strip()]()
                print(line, end="", flush=True)


if __name__ == "__main__":
    main()
