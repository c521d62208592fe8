"""What the pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from msgspec import Raw

from orchestrator.model.errors import FieldError
from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus
from orchestrator.model.view import RunView, Unserved
from orchestrator.pages import assets, render
from orchestrator.pages.render import LettersFilters, RunsFilters
from tests.pages import sample
from tests.pages.markup import Page

NOTHING_UNSERVED = Unserved(actions=[], groups=[])


def runs_page(count: int = 6, filters: RunsFilters | None = None, next_cursor: str | None = None) -> Page:
    return Page(
        render.runs_page(
            sample.make_summaries(count),
            filters=filters or RunsFilters(),
            next_cursor=next_cursor,
            base_url=sample.BASE_URL,
        )
    )


def run_page(run: RunView, *, now: float = 3, all_steps: bool = False) -> Page:
    workflow = sample.make_workflow(actions=tuple(step.action for step in run.steps))
    html = render.run_page(run, workflow, base_url=sample.BASE_URL, now=sample.iso(now), all_steps=all_steps)
    return Page(html)


def live(page: Page) -> list[str]:
    return page.values("main", "data-live")


# --- runs ---------------------------------------------------------------------------------------------------------


def test_the_list_shows_every_run_with_its_status_in_words_and_shape() -> None:
    page = runs_page()
    for status in RunStatus:
        assert status.value.replace("_", " ").capitalize() in page.text
        assert f"#i-{status.lower().replace('_', '-')}" in page.values("use", "href")
    for run in sample.make_summaries(6):
        assert f"/workflow/run/{run.run_id}" in page.values("a", "href")
    assert "BankDown: BankDown says no" in page.text
    assert "1.5 s" in page.text
    assert live(page) == ["1000"]


def test_the_duration_of_an_open_run_is_left_to_the_browser() -> None:
    page = runs_page(1)
    assert page.values("span", "data-start") == [sample.iso(0)]


def test_the_form_shows_what_the_address_asks_for() -> None:
    filters = RunsFilters(statuses=(RunStatus.FAILED, RunStatus.TIMED_OUT), workflow="order", started_from="2026-11-24")
    page = runs_page(filters=filters, next_cursor="c2")
    checkboxes = re.findall(r'value="(\w+)" checked', page.html)
    assert checkboxes == ["FAILED", "TIMED_OUT"]
    assert "order" in page.values("input", "value")
    assert "2026-11-24" in page.values("input", "value")
    older = "/workflow/runs?status=FAILED&status=TIMED_OUT&workflow=order&from=2026-11-24&cursor=c2"
    assert older in page.values("a", "href")


def test_a_further_page_leads_back_to_the_newest() -> None:
    page = runs_page(filters=RunsFilters(workflow="order", cursor="c2"))
    assert "/workflow/runs?workflow=order" in page.values("a", "href")
    assert "older" not in page.text


def test_an_empty_list_says_how_to_trigger_a_run() -> None:
    page = runs_page(0)
    assert "No run yet" in page.text
    assert f"curl {sample.BASE_URL}/workflow/hello/trigger -d" in page.text
    assert "orchestrator demo" in page.text


def test_a_filter_that_nothing_meets_says_so() -> None:
    page = runs_page(0, RunsFilters(workflow="order"))
    assert "No run matches" in page.text
    assert "No run yet" not in page.text


def test_workflow_ids_are_offered() -> None:
    html = render.runs_page(
        [], filters=RunsFilters(), next_cursor=None, base_url=sample.BASE_URL, workflow_ids=["order", "bill"]
    )
    assert Page(html).values("option", "value") == ["order", "bill"]


# --- one run ------------------------------------------------------------------------------------------------------


def test_a_completed_run_shows_steps_attempts_input_results_and_output() -> None:
    page = run_page(sample.completed_run())
    assert shown(page) == list(range(5))
    assert "3 attempts" in page.text
    assert "5 of 5 steps" in page.text
    assert "12345678901234567890" in page.text
    assert "19.90" in page.text
    assert "1234567890123456789012" in page.text
    assert '"ok": true' in page.text
    assert "8.0 s" in page.text
    assert live(page) == []
    assert "Cancel the run" not in page.values("form", "data-yes")


def test_every_attempt_is_a_bar_with_its_wait_before_it() -> None:
    page = run_page(sample.completed_run())
    bars = [value for value in page.values("rect", "class") if value.startswith("b ")]
    assert sum("work s-failed" in bar for bar in bars) == 2
    assert sum("work s-completed" in bar for bar in bars) == 5 + 1  # one is in the legend
    assert sum(bar.startswith("b wait s-") for bar in bars) == 7
    assert sum(bar == "b pause" for bar in bars) == 2
    assert "attempt 2 failed after 400 ms on worker-1" in page.text


def test_a_failed_run_leads_to_its_step_and_to_a_redrive() -> None:
    page = run_page(sample.failed_run())
    assert "BankDown says no" in page.text
    assert "line 3" in page.text
    assert "#step-1" in page.values("a", "href")
    assert f"/dead-letters/{sample.RUN_ID}:1:4/redrive" in page.values("form", "action")
    assert re.search(r'<details class="step s-failed" id="step-1" open>', page.html)
    assert "✗ order" in page.text


def test_a_waiting_run_says_why_and_counts_down() -> None:
    page = run_page(sample.waiting_run())
    assert "step 1 (charge): attempt 2 of 4 starts at" in page.text
    assert page.values("span", "data-until") == [sample.iso(32)]
    assert page.values("b", "data-until") == [sample.iso(32)]
    assert sample.iso(32) in page.values("time", "datetime")
    assert live(page) == ["500"]


def test_a_time_that_is_past_counts_up() -> None:
    run = sample.running_run()
    run.waiting_for = f"step 1 (charge): worker worker-1 has been at it since {sample.iso(1.5)}"
    page = run_page(run)
    assert sample.iso(1.5) in page.values("span", "data-start")
    assert page.values("span", "data-until") == []


def test_a_queued_attempt_grows_as_a_wait() -> None:
    page = run_page(sample.queued_run())
    assert re.search(r'<rect class="b wait s-queued"[^>]* data-grow>', page.html)
    assert "no worker has it" in page.text


def test_a_running_step_grows_and_shows_its_last_heartbeat() -> None:
    page = run_page(sample.running_run())
    assert re.search(r'<rect class="b work s-running"[^>]* data-grow>', page.html)
    assert '"done": 40' in page.text
    assert page.values("form", "action") == [f"/workflow/run/{sample.RUN_ID}/cancel"]


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.TIMED_OUT])
def test_a_run_that_was_ended_early_is_still(status: RunStatus) -> None:
    page = run_page(sample.ended_run(status))
    assert live(page) == []
    assert page.values("span", "data-start") == []
    assert "data-grow" not in page.html
    assert "/cancel" not in page.html


def test_the_page_tells_how_to_get_the_same_as_json() -> None:
    page = run_page(sample.completed_run())
    assert f"curl {sample.BASE_URL}/workflow/run/{sample.RUN_ID} -s -H 'Accept: application/json'" in page.text
    assert f"/workflow/run/{sample.RUN_ID}/events" in page.values("a", "href")
    assert f"orchestrator run watch {sample.RUN_ID} --url {sample.BASE_URL}" in page.text


@pytest.mark.parametrize("size", [40_000, 2_000_000])
def test_a_large_payload_is_cut_and_leads_to_the_whole(size: int) -> None:
    run = sample.completed_run()
    run.input = Raw(b'"' + "é".encode() * (size // 2) + b'"')
    page = run_page(run)
    assert len(page.html) < 100_000
    assert "Download the raw JSON" in page.text
    assert page.text.count("é") > 16_000 / 2


def test_a_payload_that_is_not_json_is_shown_as_it_is() -> None:
    run = sample.completed_run()
    run.input = Raw(b"{not json \xff")
    assert "{not json" in run_page(run).text


def test_many_attempts_are_shown_in_part() -> None:
    attempts = tuple(
        sample.make_attempt(AttemptStatus.FAILED, n, n + 0.1, n + 0.2, number=n + 1, error=sample.make_error())
        for n in range(1_000)
    )
    run = sample.make_run(RunStatus.FAILED, [sample.make_step(0, StepStatus.FAILED, attempts)], end=1_000)
    page = run_page(run)
    assert "Attempt 1 " in page.text
    assert "Attempt 1000 " in page.text
    assert "980 attempts" in page.text
    assert len(page.html) < 60_000


# --- long runs ----------------------------------------------------------------------------------------------------


def shown(page: Page) -> list[int]:
    return [int(name.removeprefix("step-")) for name in page.ids if name.startswith("step-")]


def test_two_hundred_steps_are_all_shown() -> None:
    page = run_page(sample.long_run(200))
    assert shown(page) == list(range(200))
    assert "steps=all" not in page.html


def test_beyond_that_the_ends_and_the_telling_steps_are_shown() -> None:
    page = run_page(sample.long_run(1_000, failed_at=600, retried=(300, 301, 450)))
    steps = shown(page)
    assert len(steps) < 100
    assert {0, 14, 300, 301, 450, 600, 985, 999} <= set(steps)
    assert steps == sorted(steps)
    assert "steps 15 to 299: 285 completed" in page.text
    assert f"/workflow/run/{sample.RUN_ID}?steps=all" in page.values("a", "href")
    assert "600 of 1000 steps" in page.text


def test_all_steps_are_shown_to_those_who_ask() -> None:
    page = run_page(sample.long_run(1_000, failed_at=600), all_steps=True)
    assert shown(page) == list(range(1_000))
    assert f"/workflow/run/{sample.RUN_ID}" in page.values("a", "href")


def test_a_run_that_retried_everything_is_collapsed_too() -> None:
    page = run_page(sample.long_run(1_000, retried=tuple(range(1_000))))
    assert len(shown(page)) == 200
    assert "of them retried" in page.text


# --- workflows ----------------------------------------------------------------------------------------------------


def test_workflows_show_their_chain_and_how_to_trigger_them() -> None:
    many = sample.make_workflow("bill", tuple(f"work-{n}" for n in range(100)), 7)
    page = Page(render.workflows_page([sample.make_workflow(), many], base_url=sample.BASE_URL))
    assert "/workflow/order" in page.values("a", "href")
    assert "@7" in page.text
    assert "93 more" in page.text
    assert "work-99" in page.text
    assert f"""curl {sample.BASE_URL}/workflow/order/trigger -d '{{"input": {{}}}}'""" in page.text


def test_no_workflow_says_how_to_define_one() -> None:
    page = Page(render.workflows_page([], base_url=sample.BASE_URL))
    assert f"curl {sample.BASE_URL}/workflow/ -d" in page.text


def test_a_workflow_shows_versions_and_policies() -> None:
    versions = [sample.make_workflow(version=version) for version in (3, 2, 1)]
    versions[0].steps[1].retry.backoff = "exponential"
    versions[0].steps[1].retry.max_delay = 90
    versions[1].steps[0].retry.max_retries = 1
    versions[1].steps[1].retry.max_retries = 0
    page = Page(render.workflow_page(versions, base_url=sample.BASE_URL))
    assert [name for name in page.ids if name.startswith("version-")] == ["version-3", "version-2", "version-1"]
    assert "3 retries, each after 1 s; none after CardDeclined; timeout 20 s; heartbeat timeout 5 s" in page.text
    assert "3 retries, after 1 s and then twice as long each time to 1 m 30 s" in page.text
    assert "1 retry, after 1 s; none" in page.text
    assert "no retry; timeout" in page.text
    assert "wait=30s" in page.text
    assert "/workflow/runs?workflow=order" in page.values("a", "href")


# --- workers and dead letters -------------------------------------------------------------------------------------


def test_workers_show_what_they_do_and_have() -> None:
    unserved = Unserved(actions=["ship.express"], groups=[])
    page = Page(render.workers_page([sample.make_worker()], unserved, base_url=sample.BASE_URL))
    assert "No connected worker does this action" in page.text
    assert "ship.express" in page.text
    assert "so runs wait at its step" in page.text
    assert "1 of 8" in page.text
    assert page.values("form", "action") == ["/workers/worker-1/drain"]


def test_a_worker_over_kafka_is_stopped_where_it_runs() -> None:
    worker = sample.make_worker()
    worker.transport = "kafka"
    page = Page(render.workers_page([worker], NOTHING_UNSERVED, base_url=sample.BASE_URL))
    assert "0.1.0 · Kafka · box-7" in page.text
    assert page.values("form", "action") == []


def test_groups_that_give_no_signs_of_life_are_named() -> None:
    unserved = Unserved(actions=["ship.express"], groups=["raw", "<odd>"])
    page = Page(render.workers_page([], unserved, base_url=sample.BASE_URL))
    assert "Consumer groups take jobs from Kafka and give no signs of life" in page.text
    assert "<odd>" in page.text
    # Nobody knows that runs wait, nor that there is no worker.
    assert "so runs wait" not in page.text
    assert "No worker yet" not in page.text


def test_no_worker_says_how_to_be_one() -> None:
    page = Page(render.workers_page([], NOTHING_UNSERVED, base_url=sample.BASE_URL))
    assert f"curl {sample.BASE_URL}/workers -d" in page.text
    assert "No connected worker" not in page.text


def test_a_page_of_workers_ends() -> None:
    workers = [sample.make_worker(f"worker-{n}") for n in range(600)]
    page = Page(render.workers_page(workers, NOTHING_UNSERVED, base_url=sample.BASE_URL))
    assert "100 more" in page.text


def test_dead_letters_show_why_and_what_to_do() -> None:
    page = Page(render.dead_letters_page([sample.make_letter()], "c2", base_url=sample.BASE_URL))
    assert "BankDown says no" in page.text
    assert f"/workflow/run/{sample.RUN_ID}#step-1" in page.values("a", "href")
    assert page.values("form", "data-method") == ["POST", "DELETE"]
    assert page.values("form", "action") == [
        "/dead-letters",
        f"/dead-letters/{sample.RUN_ID}:1:4/redrive",
        f"/dead-letters/{sample.RUN_ID}:1:4",
    ]
    assert "/dead-letters?cursor=c2" in page.values("a", "href")


def test_dead_letters_are_chosen_by_a_form_with_all_that_the_address_knows() -> None:
    filters = LettersFilters(
        workflow="order",
        action="charge",
        error='Bank"Down',
        created_from="2026-11-23T10:00:00Z",
        created_to="2026-11-24T10:00:00Z",
        state="REDRIVEN",
        limit=7,
    )
    page = Page(render.dead_letters_page([], "c2", base_url=sample.BASE_URL, filters=filters))
    given = [(name, unescape(value)) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page.html)]
    assert {name: value for name, value in given if name != "state"} == {
        "workflow": "order",
        "action": "charge",
        "error": 'Bank"Down',
        "from": "2026-11-23T10:00:00Z",
        "to": "2026-11-24T10:00:00Z",
        "limit": "7",
    }
    assert [value for name, value in given if name == "state"] == ["", "REDRIVEN", "DISCARDED"]
    assert re.findall(r'value="(\w*)" checked', page.html) == ["REDRIVEN"]
    assert "/dead-letters" in page.values("a", "href")
    assert filters.query("c2").count("=") == 8


def test_no_dead_letter_is_good_news() -> None:
    assert "No dead letter" in Page(render.dead_letters_page([], None, base_url=sample.BASE_URL)).text
    narrow = render.dead_letters_page(
        [], None, base_url=sample.BASE_URL, filters=LettersFilters(workflow="order", action="charge")
    )
    assert "No dead letter matches" in Page(narrow).text


def test_one_dead_letter_shows_payload_and_stack() -> None:
    page = Page(render.dead_letter_page(sample.make_letter(), base_url=sample.BASE_URL))
    assert "12345678901234567890" in page.text
    assert "line 3" in page.text
    assert live(page) == ["1000"]


@pytest.mark.parametrize("state", ["REDRIVEN", "DISCARDED"])
def test_a_settled_dead_letter_has_no_buttons(state: str) -> None:
    page = Page(render.dead_letter_page(sample.make_letter(state=state), base_url=sample.BASE_URL))
    assert page.values("form", "data-method") == []
    assert state.capitalize() in page.text
    assert live(page) == []


def test_an_error_says_what_is_wrong_and_how_to_mend_it() -> None:
    wrong = [FieldError("steps[1].stepIndex", "0 is used twice", "count"), FieldError("id", "it is empty")]
    page = Page(render.error_page(422, "Not valid", "2 fields are wrong", wrong, base_url=sample.BASE_URL))
    for text in ("422", "Not valid", "2 fields are wrong", "steps[1].stepIndex", "count", "it is empty"):
        assert text in page.text
    assert "Not valid" in Page(render.error_page(404, "Not valid", "Not valid")).text


# --- the same input, the same page --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [sample.running_run, sample.waiting_run, sample.queued_run, sample.completed_run])
def test_a_page_does_not_change_while_nothing_happens(make: Callable[[], RunView]) -> None:
    first, second = run_page(make(), now=5.1), run_page(make(), now=7.9)
    assert first.html == second.html
    assert assets.etag(first.html) == assets.etag(second.html)


def test_the_axis_of_an_open_run_grows_in_steps() -> None:
    assert run_page(sample.running_run(), now=5).html != run_page(sample.running_run(), now=50).html


@pytest.mark.parametrize("now", [0, 1e-3, 59, 3_599, 86_400, 400 * 86_400])
def test_any_age_of_a_run_has_an_axis(now: float) -> None:
    page = run_page(sample.running_run(), now=now)
    percents = [float(x.removesuffix("%")) for x in page.values("rect", "x")]
    assert all(0 <= percent <= 100 for percent in percents)
    assert 2 <= page.html.count("<text ") <= 6


def test_bars_stay_within_the_axis() -> None:
    page = run_page(sample.completed_run())
    for bar in re.findall(r'<rect class="b[^>]* x="([\d.]+)%"[^>]* width="([\d.]+)%"', page.html):
        assert float(bar[0]) + float(bar[1]) <= 100.01
