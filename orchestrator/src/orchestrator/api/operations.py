"""Every operation of the API in words and types; `openapi` makes the document of them, a test compares the routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from orchestrator.app.orchestrator import CancelBody, TriggerBody
from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.definition import DefinitionBody
from orchestrator.model.limits import Limits
from orchestrator.model.problem import ErrorKind
from orchestrator.model.status import RunStatus
from orchestrator.model.view import (
    DeadLetterView,
    EventView,
    Health,
    LetterGroups,
    LettersSettled,
    RunInList,
    RunSummary,
    RunView,
    Started,
    WorkerView,
    WorkflowView,
)
from orchestrator.model.wire import (
    ExchangeAnswer,
    ExchangeBody,
    HeartbeatAnswer,
    HeartbeatBody,
    RegisterBody,
    Registered,
)

TAGS: Final = {
    "workflows": "Definitions and their versions",
    "runs": "Start, read, wait for, and cancel runs",
    "workers": "The worker protocol, and who is connected",
    "dead letters": "Jobs that have no attempt left",
    "service": "The process itself",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a path, a query or a header."""

    name: str
    text: str
    place: Literal["path", "query", "header"] = "query"
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})

    def describe(self) -> dict[str, Any]:
        """Write it down."""
        described = {"name": self.name, "in": self.place, "description": self.text, "schema": self.schema}
        return {**described, "required": True} if self.place == "path" else described


@dataclass(frozen=True)
class Answer:
    """A good answer."""

    status: int
    text: str
    type: Any = None
    """The type of the JSON, or a tuple of types of which it is one."""
    media: tuple[str, ...] = ()
    """Other types of content in which it comes as a string."""
    headers: dict[str, str] = field(default_factory=dict)

    def types(self) -> tuple[Any, ...]:
        """List the types that the JSON may be of."""
        if self.type is None:
            return ()
        return self.type if isinstance(self.type, tuple) else (self.type,)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: Literal["get", "post", "delete"]
    path: str
    name: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    body_required: bool = True

    def types(self) -> list[Any]:
        """List the types that the document has to describe."""
        found = [type_ for answer in self.answers for type_ in answer.types()]
        return found if self.body is None else [self.body, *found]


HTML: Final = ("text/html",)
TEXT: Final = ("text/plain",)
SEQ_MAX: Final = 2**53
"""The largest whole number that every JSON reader takes exactly."""
ID: Final = {"pattern": "^[A-Za-z0-9_][A-Za-z0-9._:@-]*$", "maxLength": Limits().id_length_max}
WORKFLOW: Final = Parameter("workflow_id", "The id of a workflow", "path", {"type": "string", **ID})
RUN: Final = Parameter("run_id", "The id of a run", "path", {"type": "string", "minLength": 1})
WORKER: Final = Parameter("worker_id", "The id of a worker", "path", {"type": "string", **ID})
LETTER: Final = Parameter("letter_id", "The id of a dead letter", "path", {"type": "string", "minLength": 1})
LIMIT: Final = Parameter(
    "limit", "Entries of a page", schema={"type": "integer", "minimum": 1, "maximum": 500, "default": 100}
)
CURSOR: Final = Parameter("cursor", "From the Link header of the page before")
WAIT: Final = Parameter(
    "wait",
    'How long to wait for the end of the run: seconds, or "500ms", "30s", "1m"; 60 s at most',
    schema={"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m)?$"},
)
# A form sends a field that was left empty too: it filters nothing.
_STATUSES: Final = {"type": "array", "items": {"type": "string", "enum": [*(status.value for status in RunStatus), ""]}}
_TIME: Final = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}]}
_LETTERS: Final = (
    Parameter("workflow", "Only those of this workflow"),
    Parameter("action", "Only those of this action"),
    Parameter("error", "Only those with this type of error; its first 200 characters count"),
    Parameter("from", "Only those from this time or later", schema=_TIME),
    Parameter("to", "Only those from before this time", schema=_TIME),
)
_LETTER_STATE: Final = Parameter(
    "state",
    "Only those in this state; OPEN when it is left out",
    schema={"type": "string", "enum": [*(state.value for state in DeadLetterState), ""]},
)
_ALL_LETTERS: Final = Parameter(
    "all",
    "true where no filter is given: every open dead letter is meant",
    schema={"type": "string", "enum": ["true", "false", ""]},
)
_LETTERS_LIMIT: Final = Parameter(
    "limit", "Dead letters at most", schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000}
)
_LETTERS_CURSOR: Final = Parameter("cursor", "From the answer to the call before")
_NEXT: Final = {"Link": 'the next page, as <address>; rel="next"'}
_LOCATION: Final = {"Location": "where the new thing is"}


def _settle_many(verb: str, summary: str) -> Operation:
    return Operation(
        "post",
        f"/dead-letters/{verb}",
        f"{verb}DeadLetters",
        "dead letters",
        summary,
        (Answer(200, "What was done, and where to go on", LettersSettled),),
        (400, 403, 422, 503),
        (*_LETTERS, _ALL_LETTERS, _LETTERS_LIMIT, _LETTERS_CURSOR),
    )


OPERATIONS: Final = (
    Operation(
        "post",
        "/workflow/",
        "defineWorkflow",
        "workflows",
        "Define a workflow, or a new version of it",
        (
            Answer(201, "A version was made", WorkflowView, headers=_LOCATION),
            Answer(200, "The latest version says the same", WorkflowView, headers=_LOCATION),
        ),
        (400, 403, 413, 415, 422, 503),
        body=DefinitionBody,
    ),
    Operation(
        "get",
        "/workflow/",
        "listWorkflows",
        "workflows",
        "List the latest versions, by id",
        (Answer(200, "The workflows", list[WorkflowView], HTML),),
        (400, 403, 503),
    ),
    Operation(
        "get",
        "/workflow/{workflow_id}",
        "getWorkflow",
        "workflows",
        "Read the latest version",
        (Answer(200, "The workflow", WorkflowView, HTML),),
        (400, 403, 404, 503),
        (WORKFLOW,),
    ),
    Operation(
        "get",
        "/workflow/{workflow_id}/versions",
        "listVersions",
        "workflows",
        "List all versions, newest first",
        (Answer(200, "The versions", list[WorkflowView]),),
        (400, 403, 404, 503),
        (WORKFLOW,),
    ),
    Operation(
        "get",
        "/workflow/{workflow_id}/versions/{number}",
        "getVersion",
        "workflows",
        "Read one version",
        (Answer(200, "The version", WorkflowView),),
        (400, 403, 404, 503),
        (WORKFLOW, Parameter("number", "1, 2, 3 …", "path", {"type": "integer", "minimum": 1})),
    ),
    Operation(
        "post",
        "/workflow/{workflow_id}/trigger",
        "triggerWorkflow",
        "runs",
        "Start a run; with wait, answer once it has ended or the time is over",
        (
            Answer(201, "The id of the run; with wait and JSON, the run", (Started, RunView), TEXT, _LOCATION),
            Answer(200, "The run that the same key started before", (Started, RunView), TEXT, _LOCATION),
        ),
        (400, 403, 404, 409, 413, 415, 422, 503),
        (
            WORKFLOW,
            Parameter(
                "Idempotency-Key",
                "The same key with the same workflow and input gives the same run",
                "header",
                {
                    "type": "string",
                    "pattern": "^[ -~¡-¬®-ÿ]*[!-~¡-¬®-ÿ][ -~¡-¬®-ÿ]*$",
                    "maxLength": Limits().idempotency_key_length_max,
                },
            ),
            WAIT,
            Parameter("traceparent", "W3C Trace Context: goes out with each job of the run", "header"),
            Parameter("tracestate", "Goes with it; 512 characters (tracestate_chars_max)", "header"),
        ),
        body=TriggerBody,
        body_required=False,
    ),
    Operation(
        "get",
        "/workflow/runs",
        "listRuns",
        "runs",
        "List runs, newest first",
        (Answer(200, "The runs", (list[RunInList], list[RunSummary]), HTML, _NEXT),),
        (400, 403, 503),
        (
            Parameter("status", "Only runs in one of these", schema=_STATUSES),
            Parameter("workflow", "Only runs of this workflow"),
            Parameter("from", "Only runs started at this time or later", schema=_TIME),
            Parameter("to", "Only runs started before this time", schema=_TIME),
            Parameter(
                "view",
                "summary leaves payloads out",
                schema={"type": "string", "enum": ["full", "summary"], "default": "full"},
            ),
            LIMIT,
            CURSOR,
        ),
    ),
    Operation(
        "get",
        "/workflow/run/{run_id}",
        "getRun",
        "runs",
        "Read a run; with wait, once it has ended or the time is over",
        (Answer(200, "The run", RunView, HTML),),
        (400, 403, 404, 422, 503),
        (RUN, WAIT),
    ),
    Operation(
        "get",
        "/workflow/run/{run_id}/events",
        "listEvents",
        "runs",
        "Read the history of a run, oldest first",
        (Answer(200, "The events", list[EventView]),),
        (400, 403, 404, 503),
        (
            RUN,
            Parameter(
                "after",
                "Only events after this seq",
                schema={"type": "integer", "minimum": 0, "maximum": SEQ_MAX, "default": 0},
            ),
        ),
    ),
    Operation(
        "post",
        "/workflow/run/{run_id}/cancel",
        "cancelRun",
        "runs",
        "End a run; no new step starts",
        (Answer(200, "The run, cancelled", RunView),),
        (400, 403, 404, 409, 413, 415, 422, 503),
        (RUN,),
        body=CancelBody,
        body_required=False,
    ),
    Operation(
        "get",
        "/workers",
        "listWorkers",
        "workers",
        "List the workers of all processes with their jobs in hand",
        (Answer(200, "The workers", list[WorkerView], HTML),),
        (400, 403, 503),
    ),
    Operation(
        "post",
        "/workers",
        "registerWorker",
        "workers",
        "Register a worker, or put a new registration in place",
        (Answer(200, "What the worker has to keep to", Registered),),
        (400, 403, 413, 415, 422, 503),
        body=RegisterBody,
    ),
    Operation(
        "get",
        "/workers/{worker_id}",
        "getWorker",
        "workers",
        "Read one worker",
        (Answer(200, "The worker", WorkerView),),
        (400, 403, 404, 503),
        (WORKER,),
    ),
    Operation(
        "delete",
        "/workers/{worker_id}",
        "leave",
        "workers",
        "The worker leaves; its jobs in hand go back to the queue unharmed",
        (Answer(204, "It has left"),),
        (400, 403, 404, 503),
        (WORKER,),
    ),
    Operation(
        "post",
        "/workers/{worker_id}/exchange",
        "exchange",
        "workers",
        "Report results and take jobs, in one call",
        (Answer(200, "Jobs, and what became of the results", ExchangeAnswer),),
        (400, 403, 404, 413, 415, 422, 503),
        (WORKER,),
        body=ExchangeBody,
    ),
    Operation(
        "post",
        "/workers/{worker_id}/heartbeat",
        "heartbeat",
        "workers",
        "Say which jobs are in hand",
        (Answer(200, "What to stop", HeartbeatAnswer),),
        (400, 403, 404, 413, 415, 422, 503),
        (WORKER,),
        body=HeartbeatBody,
    ),
    Operation(
        "post",
        "/workers/{worker_id}/drain",
        "drainWorker",
        "workers",
        "Ask a worker over HTTP to finish and go",
        (Answer(200, "The worker", WorkerView),),
        (400, 403, 404, 409, 503),
        (WORKER,),
    ),
    Operation(
        "get",
        "/dead-letters",
        "listDeadLetters",
        "dead letters",
        "List dead letters that wait, newest first",
        (Answer(200, "The dead letters", list[DeadLetterView], HTML, _NEXT),),
        (400, 403, 503),
        (*_LETTERS, _LETTER_STATE, LIMIT, CURSOR),
    ),
    Operation(
        "get",
        "/dead-letters/groups",
        "groupDeadLetters",
        "dead letters",
        "Count dead letters by workflow, action and type of error, the most first",
        (Answer(200, "The groups", LetterGroups),),
        (400, 403, 503),
        (*_LETTERS, _LETTER_STATE, LIMIT),
    ),
    _settle_many("redrive", "Redrive many dead letters, the newest first, each in its own run"),
    _settle_many("discard", "Discard many dead letters, the newest first; their runs stay failed"),
    Operation(
        "get",
        "/dead-letters/{letter_id}",
        "getDeadLetter",
        "dead letters",
        "Read one, with payload and error",
        (Answer(200, "The dead letter", DeadLetterView, HTML),),
        (400, 403, 404, 503),
        (LETTER,),
    ),
    Operation(
        "delete",
        "/dead-letters/{letter_id}",
        "discardDeadLetter",
        "dead letters",
        "Discard it; its run stays failed",
        (Answer(204, "It is discarded"),),
        (400, 403, 404, 409, 503),
        (LETTER,),
    ),
    Operation(
        "post",
        "/dead-letters/{letter_id}/redrive",
        "redriveDeadLetter",
        "dead letters",
        "Run its step again in the same run, with a fresh retry budget",
        (Answer(200, "The run, going on", RunView),),
        (400, 403, 404, 409, 503),
        (LETTER,),
    ),
    Operation(
        "get",
        "/health/live",
        "live",
        "service",
        "Whether the process lives",
        (Answer(200, "It does", Health),),
        (403,),
    ),
    Operation(
        "get",
        "/health/ready",
        "ready",
        "service",
        "Whether it takes work",
        (Answer(200, "It does", Health),),
        (403, 503),
    ),
    Operation(
        "get",
        "/errors/{code}",
        "explainError",
        "service",
        "Say what the type of a problem stands for",
        (Answer(200, "The kind of error", ErrorKind, HTML),),
        (400, 403, 404),
        (Parameter("code", "The code of a problem", "path", {"type": "string", "pattern": "^[a-z-]+$"}),),
    ),
)
