"""Workflow definitions: what users send, what is kept, and every rule between the two."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from orchestrator.model import json, times
from orchestrator.model.errors import FieldError, InvalidDefinition, InvalidField, TooLarge
from orchestrator.model.limits import Limits
from orchestrator.model.times import Duration

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@-]*", re.ASCII)
_ID_MEND: Final = "use letters, digits and . _ : @ -, beginning with a letter, a digit or _"
RESERVED_IDS: Final = frozenset({"run", "runs", "events"})
"""Ids that a path of the API already means."""

STEP_INDEX_MAX: Final = 2**31 - 1
ERRORS_SHOWN_MAX: Final = 100
"""Wrong fields of one definition that an answer names; it counts them all."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed attempt is followed by another."""

    max_retries: int = 3
    """Retries after the first attempt: 3 means at most 4 executions that fail by their own error."""
    delay: Duration = Duration(times.MICROS)
    """Before the first retry; before every retry with a fixed backoff."""
    backoff: Literal["fixed", "exponential"] = "fixed"
    """Exponential doubles the delay with every retry."""
    max_delay: Duration | None = None
    """The longest delay, jitter included."""
    jitter: float = 0.0
    """0 to 1: the part of a delay that is drawn at random, so that retries of many runs spread."""
    non_retryable: tuple[str, ...] = ()
    """Types of errors that end the step at once."""


class StepDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One step: an action and the policy of its attempts."""

    action: str
    step_index: int
    retry: RetryPolicy = RetryPolicy()
    timeout: Duration | None = None
    """From start to close of one attempt."""
    heartbeat_timeout: Duration | None = None
    """The longest silence of the worker about this job."""


class WorkflowDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as the engine runs it: every default filled in, steps in order of their index."""

    id: str
    steps: tuple[StepDefinition, ...]
    description: str = ""
    timeout: Duration | None = None
    """From trigger to end of a whole run."""


class DefinitionVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A definition as it was stored; never changed afterwards."""

    definition: WorkflowDefinition
    version: int
    digest: str
    created_at: times.Time


DurationField = int | float | str


class RetryBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """``retry`` as users write it; a field left out keeps the workflow's, then the product's default."""

    max_retries: int | None = None
    delay: DurationField | None = None
    backoff: Literal["fixed", "exponential"] | None = None
    max_delay: DurationField | None = None
    jitter: float | None = None
    non_retryable: list[str] | None = None


class StepBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One entry of ``steps`` as users write it."""

    action: str
    step_index: int | None = None
    retry: RetryBody | None = None
    timeout: DurationField | None = None
    heartbeat_timeout: DurationField | None = None


class DefinitionBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A workflow definition as users write it."""

    id: str
    steps: Annotated[list[StepBody], msgspec.Meta(min_length=1)]
    description: str = ""
    timeout: DurationField | None = None
    retry: RetryBody | None = None
    step_timeout: DurationField | None = None
    heartbeat_timeout: DurationField | None = None


_BODY: Final = msgspec.json.Decoder(DefinitionBody)


def id_problem(value: str, limits: Limits) -> FieldError | None:
    """Say what is wrong with an id of a workflow, an action or a worker; None when nothing is."""
    if not value:
        return FieldError("", "it is empty", _ID_MEND)
    if len(value) > limits.id_length_max:
        return FieldError("", f"longer than {limits.id_length_max} characters", "shorten it")
    if _ID.fullmatch(value) is None:
        odd = next((c for c in value if re.fullmatch(r"[A-Za-z0-9._:@-]", c, re.ASCII) is None), value[0])
        return FieldError("", f"{odd!r} cannot stand there", _ID_MEND)
    return None


def parse_definition(raw: bytes, limits: Limits) -> WorkflowDefinition:
    """Read a definition from JSON and check every rule; all that is wrong is reported at once.

    Raises:
        TooLarge: more bytes than the limit allows.
        InvalidJson: not JSON.
        InvalidDefinition: a rule is broken; the first `ERRORS_SHOWN_MAX` are named.
    """
    if len(raw) > limits.definition_bytes_max:
        raise TooLarge(f"a definition has at most {limits.definition_bytes_max:,} bytes (definition_bytes_max)")
    try:
        body = json.decode(raw, _BODY, limits)
    except InvalidField as error:
        raise InvalidDefinition("1 field is wrong", error.errors) from None
    return _Reader(limits).read(body)


class _Reader:
    """Fills in defaults and collects everything that is wrong on the way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._errors: list[FieldError] = []

    def read(self, body: DefinitionBody) -> WorkflowDefinition:
        self._id("id", body.id)
        if body.id in RESERVED_IDS:
            self._wrong("id", f"{body.id!r} is a path of the API", "choose another id")
        if len(body.steps) > self._limits.definition_steps_max:
            self._wrong("steps", f"more than {self._limits.definition_steps_max} steps", "split the workflow in two")
        default = self._retry("retry", body.retry, RetryPolicy())
        timeout = self._duration("stepTimeout", body.step_timeout)
        heartbeat = self._duration("heartbeatTimeout", body.heartbeat_timeout)
        steps = [self._step(i, step, default, timeout, heartbeat) for i, step in enumerate(body.steps)]
        self._unique(step.step_index for step in steps)
        definition = WorkflowDefinition(
            id=body.id,
            steps=tuple(sorted(steps, key=lambda step: step.step_index)),
            description=body.description,
            timeout=self._duration("timeout", body.timeout),
        )
        if self._errors:
            count = len(self._errors)
            text = "1 field is wrong" if count == 1 else f"{count} fields are wrong"
            raise InvalidDefinition(text, self._errors[:ERRORS_SHOWN_MAX])
        return definition

    def _step(
        self, place: int, body: StepBody, default: RetryPolicy, timeout: Duration | None, heartbeat: Duration | None
    ) -> StepDefinition:
        at = f"steps[{place}]"
        self._id(f"{at}.action", body.action)
        index = place if body.step_index is None else body.step_index
        if not 0 <= index <= STEP_INDEX_MAX:
            self._wrong(f"{at}.stepIndex", f"{index} is not in 0 to {STEP_INDEX_MAX}", "count the steps from 0")
        return StepDefinition(
            action=body.action,
            step_index=index,
            retry=self._retry(f"{at}.retry", body.retry, default),
            timeout=self._duration(f"{at}.timeout", body.timeout) or timeout,
            heartbeat_timeout=self._duration(f"{at}.heartbeatTimeout", body.heartbeat_timeout) or heartbeat,
        )

    def _retry(self, at: str, body: RetryBody | None, default: RetryPolicy) -> RetryPolicy:
        if body is None:
            return default
        most = self._limits.max_retries_max
        if body.max_retries is not None and not 0 <= body.max_retries <= most:
            self._wrong(f"{at}.maxRetries", f"{body.max_retries} is not in 0 to {most}", "0 means a single attempt")
        if body.jitter is not None and not 0 <= body.jitter <= 1:
            self._wrong(f"{at}.jitter", f"{body.jitter} is not in 0 to 1", "0.2 spreads a delay over its last fifth")
        delay = self._duration(f"{at}.delay", body.delay, least=0)
        max_delay = self._duration(f"{at}.maxDelay", body.max_delay)
        return RetryPolicy(
            max_retries=default.max_retries if body.max_retries is None else body.max_retries,
            delay=default.delay if delay is None else delay,
            backoff=body.backoff or default.backoff,
            max_delay=default.max_delay if max_delay is None else max_delay,
            jitter=default.jitter if body.jitter is None else body.jitter,
            non_retryable=default.non_retryable if body.non_retryable is None else tuple(body.non_retryable),
        )

    def _duration(self, at: str, value: DurationField | None, least: int = 1) -> Duration | None:
        if value is None:
            return None
        mend = 'send a number of seconds or a string such as "30s"'
        try:
            duration = times.parse_duration(value)
        except (ValueError, OverflowError) as error:
            self._wrong(at, str(error), mend)
            return None
        if duration < least:
            self._wrong(at, "it has to be longer than nothing", mend + ", or leave it out")
        if duration > self._limits.duration_seconds_max * times.MICROS:
            self._wrong(at, f"longer than {self._limits.duration_seconds_max:,.0f} s (duration_seconds_max)", mend)
        return duration

    def _unique(self, indexes: Iterable[int]) -> None:
        seen: set[int] = set()
        for place, index in enumerate(indexes):
            if index in seen:
                at = f"steps[{place}].stepIndex"
                self._wrong(at, f"{index} is used by another step", "give every step its own stepIndex")
            seen.add(index)

    def _id(self, at: str, value: str) -> None:
        if problem := id_problem(value, self._limits):
            self._wrong(at, problem.reason, problem.mend)

    def _wrong(self, field: str, reason: str, mend: str) -> None:
        self._errors.append(FieldError(field, reason, mend))


def digest(definition: WorkflowDefinition) -> str:
    """Fingerprint of a definition's meaning: equal for two texts that say the same."""
    return hashlib.sha256(msgspec.json.encode(definition, order="deterministic")).hexdigest()


def to_body(definition: WorkflowDefinition) -> dict[str, Any]:
    """Write a definition as users read it: every default spelled out, durations in seconds."""

    def optional(duration: int | None) -> float | None:
        return None if duration is None else times.seconds(duration)

    return {
        "id": definition.id,
        "description": definition.description,
        "timeout": optional(definition.timeout),
        "steps": [
            {
                "action": step.action,
                "stepIndex": step.step_index,
                "retry": {
                    "maxRetries": step.retry.max_retries,
                    "delay": times.seconds(step.retry.delay),
                    "backoff": step.retry.backoff,
                    "maxDelay": optional(step.retry.max_delay),
                    "jitter": step.retry.jitter,
                    "nonRetryable": list(step.retry.non_retryable),
                },
                "timeout": optional(step.timeout),
                "heartbeatTimeout": optional(step.heartbeat_timeout),
            }
            for step in definition.steps
        ],
    }
