"""A broker that a test may do anything to: `start`, `kill`, `stop`, `pause` and `resume`, a line of stdin each.

The first line on stdout says where it is, and what clients need that come over TLS.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "orchestrator")]

from stack.ports import free_port  # noqa: E402
from tests.broker.secured import SecuredKafka  # noqa: E402

with tempfile.TemporaryDirectory(prefix="workersdk-node-") as name:
    kafka = SecuredKafka(Path(name), free_port())
    kafka.start()
    print(json.dumps({"url": kafka.url, "secured": kafka.secured, "properties": kafka.properties}), flush=True)
    try:
        for line in sys.stdin:
            getattr(kafka, line.strip())()
            print("done", flush=True)
    finally:
        kafka.kill()
