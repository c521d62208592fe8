"""A broker that a test may do anything to: `start`, `kill`, `stop`, `pause` and `resume`, a line of stdin each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from stack.kafka import Kafka  # noqa: E402
from stack.ports import free_port  # noqa: E402

with tempfile.TemporaryDirectory(prefix="workersdk-node-") as name:
    kafka = Kafka(Path(name), free_port())
    kafka.start()
    print(kafka.url, flush=True)
    try:
        for line in sys.stdin:
            getattr(kafka, line.strip())()
            print("done", flush=True)
    finally:
        kafka.kill()
