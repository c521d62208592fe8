"""Every metric that docs/metrics.md names is there, and moves."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.api.driver import Api, failed

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def samples(api: Api) -> dict[str, float]:
    """Read all metrics by name and labels."""
    answer = api.get("/metrics")
    assert (answer.status, answer.kind) == (200, "text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
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


def test_what_happens_is_counted(api: Api) -> None:
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
    assert after["orchestrator_http_requests_total{method=GET,route=/workflow/run/{run_id},status=404}"] == 1
    assert after["orchestrator_http_requests_total{method=any,route=none,status=404}"] == 1
    assert after["orchestrator_http_workers{status=CONNECTED}"] == 1
    assert after["orchestrator_duty{duty=timers}"] == 1
    assert after["process_resident_memory_bytes{}"] > 1_000_000


def test_callers_cannot_make_counters(api: Api) -> None:
    count = len(samples(api))
    for number in range(20):
        api.get(f"/no/such/{number}")
        api.get(f"/workflow/run/{number}")
    assert len(samples(api)) <= count + 4
