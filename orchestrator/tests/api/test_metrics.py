"""Every metric that docs/metrics.md names is there, and moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.api import served
from orchestrator.model.errors import Unavailable
from orchestrator.model.limits import Limits
from orchestrator.ports.queries import Counts
from tests.api.driver import Api, failed, settle

SOON = Limits(metrics_seconds=0.001)
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def samples(api: Api) -> dict[str, float]:
    """Read all metrics by name and labels."""
    answer = api.get("/metrics")
    assert (answer.status, answer.kind) == (200, "text/plain")
    return read(answer.text)


def read(text: str) -> dict[str, float]:
    """Read metrics that were written down."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_every_metric_of_the_page_is_there() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| `(orchestrator|process)_", line)]
    named = {name for line in rows for name in re.findall(r"`((?:orchestrator|process)_\w+)`", line.split("|")[1])}
    assert len(named) > 10
    with Api() as api:
        api.register()
        text = api.get("/metrics").text
    families = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    known = {name.removesuffix("_total") for name in named}
    assert known <= families
    assert {name for name in families if name.startswith("orchestrator_")} <= known


def test_what_happens_is_counted() -> None:
    with Api(SOON) as api:
        check_what_happens(api)


def check_what_happens(api: Api) -> None:
    before = samples(api)
    api.define("flow", "act", retry={"maxRetries": 0})
    api.register()
    api.trigger()
    api.exchange(results=[failed(api.take()[0])])
    api.get("/workflow/run/nobody")
    api.get("/no/such/path")
    after = samples(api)
    for event in ("RunStarted", "AttemptFailed", "StepFailed", "RunFailed"):
        assert after[f"orchestrator_events_total{{event={event}}}"] == 1, event
    assert after["orchestrator_batch_seconds_count{}"] > before["orchestrator_batch_seconds_count{}"]
    assert after["orchestrator_batch_seconds_sum{}"] > 0
    assert after["orchestrator_batch_requests_sum{}"] == 3
    assert after["orchestrator_batch_requests_bucket{le=+Inf}"] == after["orchestrator_batch_requests_count{}"]
    assert after["orchestrator_requests_waiting{}"] == after["orchestrator_batches_failed_total{}"] == 0
    assert after["orchestrator_batches_decided_again_total{}"] == 0
    assert after["orchestrator_http_requests_total{method=GET,route=/workflow/run/{run_id},status=404}"] == 1
    assert after["orchestrator_http_requests_total{method=any,route=none,status=404}"] == 1
    assert after["orchestrator_workers{status=CONNECTED,transport=http}"] == 1
    assert after["orchestrator_duty{duty=timers}"] == 1
    assert after["process_resident_memory_bytes{}"] > 1_000_000


def test_what_is_open_is_counted_by_state() -> None:
    with Api(SOON) as api:
        api.define("flow", "act", "act", retry={"maxRetries": 1, "delay": 3600})
        api.define("strict", "other", retry={"maxRetries": 0})
        api.register("w", "act", "other")
        for _ in range(3):
            api.trigger()
        assert open_jobs(api) == {"pending": 3, "sent": 0, "leased": 0, "backoff": 0}
        assert at_least(api, "orchestrator_job_pending_seconds{}", 0.01) < 60
        api.exchange(results=[failed(api.take()[0])])
        api.trigger("strict")
        api.exchange(results=[failed(next(job for job in api.take(capacity=9) if job["action"] == "other"))])
        # The store learns of a lease that lasts half a second.
        at_least(api, "orchestrator_jobs_open{state=leased}", 2)
        after = samples(api)
        assert open_jobs(api) == {"pending": 0, "sent": 0, "leased": 2, "backoff": 1}
        assert after["orchestrator_job_pending_seconds{}"] == 0
        assert after["orchestrator_runs_open{status=RUNNING}"] == 2
        assert after["orchestrator_runs_open{status=WAITING}"] == 1
        assert after["orchestrator_dead_letters_open{}"] == 1
        assert after["orchestrator_retries_total{}"] == 1
        assert after["orchestrator_part_up{part=database}"] == 1
        assert not any(name.startswith(("orchestrator_part_up{part=kafka", "orchestrator_kafka")) for name in after)


def test_the_store_is_asked_once_however_often_metrics_are(api: Api) -> None:
    before = open_jobs(api)
    api.define()
    api.trigger()
    assert open_jobs(api) == before


def test_a_store_that_does_not_answer_is_down_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(most: int) -> Counts:
        raise Unavailable("the store failed")

    with Api(SOON) as api:
        monkeypatch.setattr(api.orchestrator._queries, "count", away)
        found = samples(api)
        assert found["orchestrator_part_up{part=database}"] == 0
        assert found["orchestrator_requests_waiting{}"] == 0
        assert not any(name.startswith(("orchestrator_jobs_open", "orchestrator_runs_open")) for name in found)
        monkeypatch.undo()
        at_least(api, "orchestrator_part_up{part=database}", 1)


def test_a_request_takes_as_long_as_its_answer_without_what_was_waited_on_purpose(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    assert api.show(run_id, wait=0.4)["status"] == "RUNNING"
    assert api.take()
    assert api.take(wait=0.4) == []
    assert api.post("/workflow/flow/trigger?wait=0.4s").status == 201
    found = samples(api)
    for method, route, count in (
        ("GET", "/workflow/run/{run_id}", 1),
        ("POST", "/workers/{worker_id}/exchange", 2),
        ("POST", "/workflow/{workflow_id}/trigger", 2),
    ):
        labels = f"method={method},route={route}"
        assert found[f"orchestrator_http_request_seconds_count{{{labels}}}"] == count
        # All of them together waited for longer.
        assert 0 < found[f"orchestrator_http_request_seconds_sum{{{labels}}}"] < 0.4
    assert found["orchestrator_http_request_seconds_bucket{le=+Inf,method=POST,route=/workflow}"] == 1


def test_the_files_of_a_data_folder_have_a_size(tmp_path: Path) -> None:
    with Api(data=tmp_path / "data") as api:
        api.define()
        found = samples(api)
    assert found["orchestrator_database_bytes{file=data}"] > 0
    assert found["orchestrator_database_bytes{file=log}"] > 0


def open_jobs(api: Api) -> dict[str, float]:
    """Give the open jobs by state."""
    found = samples(api)
    return {
        state: found[f"orchestrator_jobs_open{{state={state}}}"] for state in ("pending", "sent", "leased", "backoff")
    }


def at_least(api: Api, name: str, least: float) -> float:
    """Wait until a metric has come so far, and give it."""

    async def has_come() -> bool:
        text = (await api.call("GET", "/metrics")).text
        return read(text)[name] >= least

    api.run(settle(has_come))
    return samples(api)[name]


def test_callers_cannot_make_counters(api: Api) -> None:
    count = len(samples(api))
    for number in range(20):
        api.get(f"/no/such/{number}")
        api.get(f"/workflow/run/{number}")
    # A counter and a histogram for each of two routes.
    assert len(samples(api)) <= count + 4 * (1 + len(served.SECONDS) + 3)
