"""The AsyncAPI 3 document of the topics, as a worker sees them, made of the structs that records are made of.

Source: AsyncAPI Specification 3.0.0. What has no type of its own, such as headers, is said here, and a test compares it
with the records that a real process writes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from orchestrator import __version__
from orchestrator.model.record import HeartbeatRecord, JobRecord, ResultRecord, StopRecord
from orchestrator.model.topics import Topics

_SCHEMA: Final = "#/components/schemas/{name}"
_DURATION: Final = 'seconds, or a string with a unit: "500ms", "20s", "5m", "2h", "1d"'
_JOB_ID: Final = "`<workflowRunId>:<stepIndex>`: the same for every attempt of a step, a handler's idempotency key"
_ATTEMPT: Final = "1, 2, 3 …: given back with the result, so that an answer to an attempt that is over changes nothing"

MEANINGS: Final[dict[str, dict[str, str]]] = {
    "JobRecord": {
        "workflowRunId": "The run",
        "action": "What is to be done: the name that a handler is registered under. Pass over those that are not yours",
        "payload": "The run's input for the first step, after that the result of the step before; any JSON value",
        "jobId": _JOB_ID,
        "attempt": _ATTEMPT,
        "workflowId": "The workflow",
        "stepIndex": "The step, from 0",
        "timeout": "Seconds from the start of the attempt to its end, where the step has such a limit",
        "heartbeatTimeout": "Seconds within which a heartbeat must name the job, where the step has such a limit",
        "alone": "An earlier attempt was lost with its worker: run it with nothing else in hand",
        "details": "What the previous attempt said last; any JSON value",
    },
    "ResultRecord": {
        "workflowRunId": "As in the job",
        "action": "As in the job; without `jobId` it says which step is meant",
        "result": "What the handler returned, any JSON value; null when left out",
        "jobId": "As in the job. Left out by a worker that knows three fields",
        "attempt": "As in the job; goes with `jobId`",
        "status": "`failed` with `error`; `released` gives the job back unharmed, and no attempt is counted",
        "error": "Why it failed",
        "details": "What the next attempt should know, with `failed` or `released`; any JSON value",
        "workerId": "Who did it; shown to people",
        "startedAt": "When the attempt began, ISO 8601; shown to people",
    },
    "ErrorBody": {
        "type": "Compared with `nonRetryable` of the step's retry policy",
        "message": "For people",
        "stack": "For people",
        "retryable": "false ends the retries, whatever the policy says",
        "retryAfter": f"In place of the policy's delay: {_DURATION}",
    },
    "HeartbeatRecord": {
        "workerId": "The worker's own name: 1 to 128 of `A-Z a-z 0-9 . _ : @ -`",
        "actions": "What it has handlers for",
        "sdk": "Shown to people",
        "version": "Shown to people",
        "host": "Shown to people",
        "pid": "Shown to people",
        "concurrency": "How many jobs it runs at once; shown to people",
        "lease": f"How long a job stays this worker's after a heartbeat that names it; 30 s when left out; {_DURATION}",
        "heartbeat": f"The longest time between two heartbeats, whatever is in hand; {_DURATION}",
        "capacity": "How many more jobs it could start now; at 0 it is busy",
        "leaving": "true in the last one: it is gone at once",
        "inFlight": "The jobs in hand",
    },
    "BeatRecord": {
        "jobId": "As in the job",
        "attempt": "As in the job",
        "startedAt": "When the attempt began, ISO 8601",
        "details": "How far it is, any JSON value of up to 16 KiB: shown to people, given to the next attempt",
    },
    "StopRecord": {
        "jobId": "As in the job",
        "attempt": "As in the job",
        "type": "Pass over every other word",
        "reason": "For people",
    },
}
"""Fields by record, in words."""

_JOB_HEADERS: Final = {
    "wf-action": "The action: here a reader looks first, and passes over what is not its own without reading the value",
    "wf-job-id": _JOB_ID,
    "wf-run-id": "The run",
    "wf-attempt": "The attempt, in decimal digits",
    "wf-alone": "`1` where the job is to run alone, else absent",
    "wf-result-partition": "The partition of the topic of results, in decimal digits, where the run is at home: the "
    "process that reads there knows the run. A wish: a result in another partition is as good. May be absent",
    "content-type": "`application/json`",
    "traceparent": "What came with the trigger, W3C Trace Context; absent where the run was started without",
    "tracestate": "What goes with `traceparent`, where there is any",
}
_RESULT_HEADERS: Final = {
    "wf-job-id": "As in the job; optional",
    "wf-attempt": "As in the job; optional",
    "content-type": "`application/json`; optional",
    "traceparent": "As in the job; optional",
    "tracestate": "As in the job; optional",
}
_LETTER_HEADERS: Final = {
    **_JOB_HEADERS,
    "kafka_dlt-original-topic": "Where the job was",
    "kafka_dlt-original-partition": "Its partition, 4 bytes, where it is known",
    "kafka_dlt-original-offset": "Its offset, 8 bytes, where it is known",
    "kafka_dlt-original-timestamp": "When a record that nobody could read was written, 8 bytes, milliseconds",
    "kafka_dlt-exception-fqcn": "The type of the error",
    "kafka_dlt-exception-message": "Its message",
    "kafka_dlt-exception-stacktrace": "Up to 8 KiB of its stack",
    "wf-dlt-reason": "`handler-error`, `worker-lost`, `step-timeout`, `not-sent` or `undecodable`",
    "wf-dlt-id": "The dead letter's id in the REST API",
    "wf-dlt-attempts": "How many attempts were made, in decimal digits",
    "wf-workflow-id": "The workflow",
    "wf-step-index": "The step, in decimal digits",
    "wf-worker-id": "The worker that had the last attempt",
    "wf-dlt-truncated": "What was cut: `payload` or `value`, else absent",
    "wf-dlt-value-bytes": "How large the value was before it was cut",
    "wf-dlt-key-bytes": "How large the key was before it was cut",
}


class _Channel(NamedTuple):
    """A topic and the one kind of record on it."""

    name: str
    topic: str
    message: str
    record: type
    action: str
    """What a worker does with it: `receive` or `send`."""
    level: int
    """From which level of the protocol on a worker has to do with it."""
    key: str
    headers: dict[str, str]
    title: str
    text: str


def _channels(topics: Topics) -> tuple[_Channel, ...]:
    return (
        _Channel(
            *("jobs", topics.jobs, "job", JobRecord, "receive", 0, "The run's id", _JOB_HEADERS),
            "Jobs of all actions",
            "Workers of one action share the group `workflow-worker.<action>`, so that each job has one reader. An "
            "action may have a topic to itself (`kafka_routes`), with the same records.",
        ),
        _Channel(
            *("results", topics.results, "result", ResultRecord, "send", 0),
            *("The key of the job's record; optional", _RESULT_HEADERS, "What became of jobs"),
            "`workflowRunId`, `action` and `result` are enough (level 0); `jobId`, `attempt`, `status` and `error` "
            "make failures and late answers exact (level 1). The first result of the open attempt counts.",
        ),
        _Channel(
            *("heartbeats", topics.heartbeats, "heartbeat", HeartbeatRecord, "send", 2),
            *("The worker's id", {"content-type": "`application/json`; optional"}, "Signs of life of workers"),
            "At the start, as often as `heartbeat` says, soon after a job is found to last, and at the end.",
        ),
        _Channel(
            *("control", topics.control, "stop", StopRecord, "receive", 2),
            *("The run's id", {"content-type": "`application/json`"}, "Attempts that workers shall stop"),
            "Every worker reads all of it, without a group, from its start on.",
        ),
        _Channel(
            *("deadLetters", topics.dead_letters, "deadLetter", JobRecord, "receive", 0),
            *("The key of the job's record", _LETTER_HEADERS, "Jobs that failed for good, one record for each step"),
            "For people and their tools; no worker reads it. With the reason `undecodable` it is a result that nobody "
            "could read, as it was.",
        ),
    )


@cache
def document(topics: Topics) -> dict[str, Any]:
    """Make the document for an installation with these topics."""
    channels = _channels(topics)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Workflow Orchestrator: workers over Kafka",
            "version": __version__,
            "description": "Take jobs from one topic, write what became of them to another, in any language. "
            "Level 0: three fields. Level 1: errors and attempts. Level 2: heartbeats, cancellation, progress. "
            "Fields that are not known are ignored on both sides.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _describe(channel) for channel in channels},
        "operations": {
            f"{channel.action}{channel.name[0].upper()}{channel.name[1:]}": {
                "action": channel.action,
                "channel": {"$ref": f"#/channels/{channel.name}"},
                "summary": channel.title,
                "x-level": channel.level,
            }
            for channel in channels
        },
        "components": {
            "messages": {channel.message: _message(channel) for channel in channels},
            "schemas": schemas(_SCHEMA),
        },
    }


def schemas(ref_template: str) -> dict[str, Any]:
    """Give the JSON Schema of each record and its parts, by name; `ref_template` says how one refers to another."""
    records = [JobRecord, ResultRecord, HeartbeatRecord, StopRecord]
    _, components = msgspec.json.schema_components(records, ref_template=ref_template)
    for name, component in components.items():
        component["description"] = component["description"].replace("``", "`")
        for field, described in component["properties"].items():
            described["description"] = MEANINGS[name][field]
            if "attempt" in field or field in {"pid", "concurrency", "capacity", "stepIndex"}:
                described["minimum"] = 1 if field in {"attempt", "concurrency"} else 0
    return components


def _describe(channel: _Channel) -> dict[str, Any]:
    return {
        "address": channel.topic,
        "title": channel.title,
        "description": channel.text,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
        "bindings": {"kafka": {"topic": channel.topic, "bindingVersion": "0.5.0"}},
    }


def _message(channel: _Channel) -> dict[str, Any]:
    return {
        "name": channel.message,
        "title": channel.record.__name__,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": text} for name, text in channel.headers.items()},
        },
        "payload": {"$ref": _SCHEMA.format(name=channel.record.__name__)},
        "bindings": {"kafka": {"key": {"type": "string", "description": channel.key}, "bindingVersion": "0.5.0"}},
        "x-level": channel.level,
    }
