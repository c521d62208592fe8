"""The worker in the protocol's README does what is said there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from msgspec import Raw

from tests.broker.site import Site, define, ended, trigger

README = Path(__file__).parents[3] / "protocol" / "README.md"


async def test_the_worker_of_the_readme_completes_runs_and_fails_what_it_cannot_do(site: Site, tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(text.splitlines()) <= 22
    script = tmp_path / "worker.py"
    script.write_text(text.replace('"my-workers"', f'"{site.prefix}my-workers"'))
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": site.kafka,
        "WORKFLOW_JOBS_TOPIC": site.topics.jobs,
        "WORKFLOW_RESULTS_TOPIC": site.topics.results,
    }
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "greet", "retry": {"maxRetries": 0}})
        worker = await asyncio.create_subprocess_exec(sys.executable, script, env=environment)
        try:
            well, badly = [await trigger(orchestrator, payload) for payload in ({"name": "Zoë"}, "no name")]
            runs = [await ended(orchestrator, run_id) for run_id in (well, badly)]
        finally:
            worker.kill()
            await worker.wait()
    assert [run.status for run in runs] == ["COMPLETED", "FAILED"]
    # As it was written: Python escapes what is not ASCII.
    assert runs[0].final_output == Raw(b'"Hello Zo\\u00eb"')
    assert runs[1].error is not None
    assert runs[1].error.type == "TypeError"
