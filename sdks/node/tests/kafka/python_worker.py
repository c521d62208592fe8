"""A worker of the Python SDK beside those of this one: `python_worker.py ACTION`. Says which jobs it does."""

from __future__ import annotations

import sys
from typing import Any

from workersdk import Context, Worker

worker = Worker(concurrency=20)


@worker.register(sys.argv[1])
async def do(payload: Any, context: Context) -> Any:
    print(f"did {context.job_id}", flush=True)
    return payload


worker.start(None, "workflow-workers-python")
