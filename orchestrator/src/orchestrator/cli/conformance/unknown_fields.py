"""The scenario of a worker that is older than the orchestrator."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from orchestrator.cli.conformance.gateway import gateway
from orchestrator.cli.conformance.site import Failed, Site
from orchestrator.cli.conformance.stage import Play

PAYLOAD: Final = {"kept": [1, 2, {"too": None}]}
SOON_SECONDS: Final = 20.0


def unknown_fields(play: Play) -> None:
    """Fields and headers that no worker knows yet are passed over, and the job is done."""
    run_id = str(uuid4())
    job: dict[str, Any] = {
        "workflowRunId": run_id,
        "action": "echo",
        "payload": PAYLOAD,
        "jobId": f"{run_id}:0",
        "attempt": 1,
        "workflowId": "to-come",
        "stepIndex": 0,
        "lease": 30,
        "toCome": {"deep": [1, 2.5, None, {"x": "y"}]},
        "alone2": True,
    }
    result = (_over_http if play.site.transport == "http" else _over_kafka)(play.site, play, job)
    if result.get("result") != PAYLOAD or result.get("status", "completed") != "completed":
        raise Failed(f"the result is {result}")


def _over_http(site: Site, play: Play, job: dict[str, Any]) -> dict[str, Any]:
    with gateway(job) as served:
        worker = site.worker(play.command, served.url)
        site.until(lambda: served.results, "the result of a job with unknown fields", SOON_SECONDS)
        worker.end()
        return served.results[0]


def _over_kafka(site: Site, play: Play, job: dict[str, Any]) -> dict[str, Any]:
    from orchestrator.cli.conformance.topics import find_result, write_job  # the client of Kafka takes long to load

    site.worker(play.command)
    write_job(site.kafka, site.topics.jobs, job)
    result = find_result(site.kafka, site.topics.results, job["jobId"], SOON_SECONDS)
    if result is None:
        raise Failed(f"no result of a job with unknown fields within {SOON_SECONDS:g} s")
    return result
