"""The pages, each a pure function from what the API shows to HTML.

The same arguments give the same text, so that a browser that asks again is told that nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.model.errors import FieldError
from orchestrator.model.status import OPEN_STATUSES, RunStatus, StepStatus
from orchestrator.model.view import DeadLetterView, RunSummary, RunView, Unserved, WorkerView, WorkflowView
from orchestrator.pages import assets, steps, text

RUN_POLL_MILLIS: Final = 500
"""How often the page of an open run asks whether it has changed."""
LIST_POLL_MILLIS: Final = 1_000
"""The same for a list."""
LONG_POLL_FACTOR: Final = 4
"""How many times less often the page of a long run asks while it shows every step."""

_PAYLOAD_CHARS_MAX: Final = 16_384
_ERROR_CHARS_MAX: Final = 140
_CHAIN_MAX: Final = 8
_WORKERS_MAX: Final = 500
_VERSIONS_MAX: Final = 20
_STEPS_OF_VERSION_MAX: Final = 200

_TITLE_SIGNS: Final[Mapping[str, str]] = {
    "RUNNING": "▶",
    "WAITING": "⏳",
    "COMPLETED": "✓",
    "FAILED": "✗",
    "CANCELLED": "⊘",
    "TIMED_OUT": "⏱",
}


class RunsFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What the address of a list of runs asks for, as it stands there."""

    statuses: tuple[RunStatus, ...] = ()
    workflow: str = ""
    started_from: str = ""
    started_to: str = ""
    limit: int | None = None
    cursor: str = ""

    def query(self, cursor: str = "") -> str:
        """Write the query that asks for the same runs, from the cursor on."""
        pairs = [("status", status.value) for status in self.statuses]
        pairs += [("workflow", self.workflow), ("from", self.started_from), ("to", self.started_to)]
        pairs += [("limit", "" if self.limit is None else str(self.limit)), ("cursor", cursor)]
        return _query(pairs)

    @property
    def is_narrow(self) -> bool:
        """Whether some runs may be left out."""
        return bool(self.statuses or self.workflow or self.started_from or self.started_to)


class LettersFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What the address of a list of dead letters asks for."""

    workflow: str = ""
    action: str = ""
    error: str = ""
    created_from: str = ""
    created_to: str = ""
    state: str = ""
    """Empty for those that are open."""
    limit: int | None = None
    cursor: str = ""

    def query(self, cursor: str = "") -> str:
        """Write the query that asks for the same dead letters, from the cursor on."""
        pairs = [("workflow", self.workflow), ("action", self.action), ("error", self.error)]
        pairs += [("from", self.created_from), ("to", self.created_to), ("state", self.state)]
        pairs += [("limit", "" if self.limit is None else str(self.limit)), ("cursor", cursor)]
        return _query(pairs)

    @property
    def is_narrow(self) -> bool:
        """Whether others are shown than all that are open."""
        given = (self.workflow, self.action, self.error, self.created_from, self.created_to, self.state)
        return any(given)


def runs_page(
    runs: Sequence[RunSummary],
    *,
    filters: RunsFilters,
    next_cursor: str | None,
    base_url: str,
    workflow_ids: Sequence[str] = (),
) -> str:
    """Write the list of runs, newest first.

    Args:
        runs: one page of them.
        filters: what was asked for; shown in the form and kept in the links.
        next_cursor: where the next page begins.
        base_url: this server as its users reach it.
        workflow_ids: offered when a workflow is typed into the form.
    """
    return _render(
        "runs.html",
        place="runs",
        title="Runs",
        base_url=base_url,
        poll=LIST_POLL_MILLIS,
        rows=[
            {
                "run": run,
                "took": run.end_time and text.between(run.start_time, run.end_time),
                "error": run.error and text.short(f"{run.error.type}: {run.error.message}", _ERROR_CHARS_MAX),
            }
            for run in runs
        ],
        filters=filters,
        statuses=list(RunStatus),
        workflow_ids=workflow_ids,
        older="" if next_cursor is None else "/workflow/runs" + filters.query(next_cursor),
        newest="/workflow/runs" + filters.query(),
        json_url=f"{base_url}/workflow/runs{filters.query(filters.cursor)}",
    )


def run_page(run: RunView, workflow: WorkflowView, *, base_url: str, now: str, all_steps: bool = False) -> str:
    """Write the page of one run.

    Args:
        run: with all steps of its definition in order, those not reached without attempts.
        workflow: the version of the definition that the run follows.
        base_url: this server as its users reach it.
        now: chooses the scale of an open run's timeline, and is not written into the page.
        all_steps: show every step of a long run.
    """
    is_open = run.status in OPEN_STATUSES
    listing = steps.listing(run, workflow, now, all_steps=all_steps)
    address = text.path("workflow", "run", run.run_id)
    return _render(
        "run.html",
        place="runs",
        title=f"{_TITLE_SIGNS[run.status]} {run.workflow_id}",
        base_url=base_url,
        poll=0 if not is_open else RUN_POLL_MILLIS * (LONG_POLL_FACTOR if listing.shown > steps.STEPS_MAX else 1),
        run=run,
        workflow=workflow,
        is_open=is_open,
        listing=listing,
        took=run.end_time and text.between(run.start_time, run.end_time),
        at_fault=next((row for row in listing.entries if isinstance(row, steps.Row) and row.dead_letter), None),
        due={step.next_attempt_at for step in run.steps},
        is_worked_on=any(step.status is StepStatus.RUNNING for step in run.steps),
        waiting=text.segments(run.waiting_for) if is_open and run.waiting_for else [],
        input=text.payload(bytes(run.input), _PAYLOAD_CHARS_MAX),
        output=None if run.final_output is None else text.payload(bytes(run.final_output), _PAYLOAD_CHARS_MAX),
        address=address,
        json_url=base_url + address,
    )


def workflows_page(workflows: Sequence[WorkflowView], *, base_url: str) -> str:
    """Write the list of definitions: the latest version of each."""
    return _render(
        "workflows.html",
        place="workflows",
        title="Workflows",
        base_url=base_url,
        poll=LIST_POLL_MILLIS,
        cards=[
            {
                "workflow": workflow,
                "chain": _chain(workflow),
                "trigger": text.curl(base_url + text.path("workflow", workflow.id, "trigger"), "-d", '{"input": {}}'),
            }
            for workflow in workflows
        ],
        json_url=f"{base_url}/workflow/",
    )


def workflow_page(versions: Sequence[WorkflowView], *, base_url: str) -> str:
    """Write the page of a definition: all its versions, newest first; at least one."""
    latest = versions[0]
    trigger = base_url + text.path("workflow", latest.id, "trigger")
    return _render(
        "workflow.html",
        place="workflows",
        title=latest.id,
        base_url=base_url,
        poll=LIST_POLL_MILLIS,
        latest=latest,
        versions=[
            {
                "workflow": version,
                "chain": _chain(version),
                "steps": [
                    {
                        "step": step,
                        "policy": steps.policy(step.retry, step.timeout, step.heartbeat_timeout),
                    }
                    for step in version.steps[:_STEPS_OF_VERSION_MAX]
                ],
                "left_out": max(0, len(version.steps) - _STEPS_OF_VERSION_MAX),
            }
            for version in versions[:_VERSIONS_MAX]
        ],
        left_out=max(0, len(versions) - _VERSIONS_MAX),
        runs_url="/workflow/runs" + RunsFilters(workflow=latest.id).query(),
        trigger=text.curl(trigger, "-d", '{"input": {}}'),
        trigger_and_wait=text.curl(f"{trigger}?wait=30s", "-d", '{"input": {}}'),
        json_url=base_url + text.path("workflow", latest.id, "versions"),
    )


def workers_page(workers: Sequence[WorkerView], unserved: Unserved, *, base_url: str) -> str:
    """Write the list of workers.

    Args:
        workers: all of them.
        unserved: what none of them does.
        base_url: this server as its users reach it.
    """
    return _render(
        "workers.html",
        place="workers",
        title="Workers",
        base_url=base_url,
        poll=LIST_POLL_MILLIS,
        workers=workers[:_WORKERS_MAX],
        left_out=max(0, len(workers) - _WORKERS_MAX),
        unserved=unserved,
        json_url=f"{base_url}/workers",
    )


def dead_letters_page(
    letters: Sequence[DeadLetterView],
    next_cursor: str | None,
    *,
    base_url: str,
    filters: LettersFilters = LettersFilters(),  # noqa: B008 - it is frozen
) -> str:
    """Write the list of dead letters, newest first."""
    return _render(
        "dead_letters.html",
        place="dead letters",
        title="Dead letters",
        base_url=base_url,
        poll=LIST_POLL_MILLIS,
        letters=letters,
        filters=filters,
        states=("OPEN", "REDRIVEN", "DISCARDED"),
        older="" if next_cursor is None else "/dead-letters" + filters.query(next_cursor),
        newest="/dead-letters" + filters.query(),
        json_url=f"{base_url}/dead-letters{filters.query(filters.cursor)}",
    )


def dead_letter_page(letter: DeadLetterView, *, base_url: str) -> str:
    """Write the page of one dead letter, with its payload and the whole error."""
    return _render(
        "dead_letter.html",
        place="dead letters",
        title=f"Dead letter of {letter.action}",
        base_url=base_url,
        poll=LIST_POLL_MILLIS if letter.state == "OPEN" else 0,
        letter=letter,
        payload_of_letter=text.payload(bytes(letter.payload), _PAYLOAD_CHARS_MAX),
        json_url=base_url + text.path("dead-letters", letter.id),
    )


def error_page(status: int, title: str, detail: str, errors: Sequence[FieldError] = (), *, base_url: str = "") -> str:
    """Write what a browser is shown instead of problem details."""
    return _render(
        "error.html",
        place="",
        title=title,
        base_url=base_url,
        poll=0,
        status=status,
        detail="" if detail == title else detail,
        errors=errors,
    )


def _chain(workflow: WorkflowView) -> list[str | int]:
    """Give the actions in order; a number stands for so many that are left out."""
    actions: list[str | int] = [step.action for step in workflow.steps]
    if len(actions) <= _CHAIN_MAX:
        return actions
    return [*actions[: _CHAIN_MAX - 2], len(actions) - _CHAIN_MAX + 1, actions[-1]]


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    given = urlencode([(name, value) for name, value in pairs if value])
    return f"?{given}" if given else ""


def _label(status: str) -> str:
    return status.replace("_", " ").capitalize()


def _kind(status: str) -> str:
    return status.replace("_", "-").lower()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        stamp=text.stamp, duration=text.duration, seconds=text.seconds, short=text.short, label=_label, kind=_kind
    )
    environment.globals.update(path=text.path, curl=text.curl, command=text.command, asset=assets.url)
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)
