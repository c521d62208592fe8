"""From what a worker wrote to reports the engine can decide on. One bad result never costs its neighbours."""

from __future__ import annotations

import contextlib
import re
from itertools import islice
from typing import Final, Literal, Protocol

import msgspec

from orchestrator.model import json
from orchestrator.model.errors import InvalidJson, InvalidRequest, OrchestratorError
from orchestrator.model.event import Failure
from orchestrator.model.job import Rejection, Report, parse_job_id
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.times import Duration, parse_duration
from orchestrator.model.wire import (
    ErrorBody,
    ExchangeBody,
    HeartbeatBody,
    JobInFlight,
    LooseExchangeBody,
    Rejected,
    ResultBody,
)

INVALID_TYPE: Final = "ResultInvalid"
"""The type of the failure of an attempt whose report broke a rule of the protocol."""

_EXCHANGE: Final = msgspec.json.Decoder(ExchangeBody)
_LOOSE: Final = msgspec.json.Decoder(LooseExchangeBody)
_RESULT: Final = msgspec.json.Decoder(ResultBody)
_HEARTBEAT: Final = msgspec.json.Decoder(HeartbeatBody)
_IN_FLIGHT: Final = msgspec.json.Decoder(JobInFlight)


_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{},]', re.DOTALL)
_TOKENS_MAX: Final = 1_000_000
"""Strings, brackets and commas looked at to tell results apart: a fraction of a second."""
_JOB_ID: Final = re.compile(rb'\s*:\s*"([^"\\]+)"')
_ATTEMPT: Final = re.compile(rb"\s*:\s*(\d{1,9})\s*[,}]")


class Said(Protocol):
    """What became of a job, whichever way it was told."""

    @property
    def status(self) -> Literal["completed", "failed", "released"]:
        """How the attempt ended."""

    @property
    def result(self) -> msgspec.Raw:
        """What the handler gave."""

    @property
    def error(self) -> ErrorBody | None:
        """Why it failed."""

    @property
    def details(self) -> msgspec.Raw:
        """What the next attempt should know, when this one did not complete."""


class Reports:
    """The results of one exchange, checked."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.count = 0
        """Results in the call, good and bad."""
        self.reports: list[Report] = []
        self.rejected: list[Rejected] = []

    def read(self, raw: bytes) -> ExchangeBody | LooseExchangeBody:
        """Decode an exchange; `reports` and `rejected` are filled on the way.

        Raises:
            InvalidJson: the body as a whole is not JSON.
            InvalidField: a field outside the results is wrong.
        """
        json.check_utf8(raw)
        try:
            body = _EXCHANGE.decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            return self._read_loose(raw)
        self.count = len(body.results)
        odd = json.may_break_limits(raw, self._limits)
        for result in body.results:
            self.add(result.job_id, result.attempt, result, odd=odd)
        return body

    def _read_loose(self, raw: bytes) -> LooseExchangeBody:
        try:
            body = _LOOSE.decode(raw)
            results = [bytes(one) for one in body.results]
        except (msgspec.MsgspecError, RecursionError):
            rest, results = _split(raw, b'"results"')
            body = json.decode_unchecked(rest, _LOOSE)
        self.count = len(results)
        for one in results:
            self._add_loose(one)
        return body

    def _add_loose(self, raw: bytes) -> None:
        try:
            body = json.decode_unchecked(raw, _RESULT)
        except InvalidRequest as error:
            (problem,) = error.errors
            at = "" if problem.field == "body" else f"{problem.field}: "
            self._reject_raw(raw, at + problem.reason)
        else:
            self.add(body.job_id, body.attempt, body, odd=True)

    def _reject_raw(self, raw: bytes, reason: str) -> None:
        job_id, attempt = _job_of(raw)
        if job_id is None or attempt is None:
            self.rejected.append(Rejected(job_id=job_id, attempt=attempt, code=Rejection.INVALID, reason=reason))
        else:
            self._fail(job_id, attempt, reason)

    def add(self, job_id: str, attempt: int, body: Said, *, odd: bool) -> None:
        """Check one result."""
        place = parse_job_id(job_id)
        if place is None:
            reason = "jobId is not one of this orchestrator's"
            self._reject(job_id, attempt, Rejection.UNKNOWN, reason)
            return
        result = bytes(body.result)
        if len(result) > self._limits.payload_bytes_max or odd:
            try:
                json.check_json(result, self._limits)
                json.check_payload(result, self._limits, "result")
            except OrchestratorError as error:
                self._fail(job_id, attempt, str(error))
                return
        report = Report(run_id=place[0], step=place[1], attempt=attempt, outcome=body.status, result=Json(result))
        if (
            body.status != "completed"
            and 0 < len(details := bytes(body.details)) <= self._limits.heartbeat_details_bytes_max
        ):
            with contextlib.suppress(OrchestratorError):
                json.check_json(details, self._limits)
                report.details = Json(details)
        if body.status == "failed":
            said = body.error or ErrorBody()
            report.failure = self._failure(said)
            report.retryable = said.retryable
            report.retry_after = self._retry_after(said)
        self.reports.append(report)

    def _failure(self, error: ErrorBody) -> Failure:
        limits = self._limits
        return Failure(
            error.type[: limits.id_length_max],
            error.message[: limits.error_message_chars_max],
            (error.stack or "")[: limits.error_stack_chars_max],
        )

    def _retry_after(self, error: ErrorBody) -> Duration | None:
        """Read the delay a worker asked for; the policy's is better than none where it makes no sense."""
        if error.retry_after is None:
            return None
        try:
            delay = parse_duration(error.retry_after)
        except ValueError:
            return None
        return Duration(min(delay, round(self._limits.duration_seconds_max * 1_000_000)))

    def _fail(self, job_id: str, attempt: int, reason: str) -> None:
        """A result that can never be recorded ends its step: to run the handler again would give the same."""
        self._reject(job_id, attempt, Rejection.INVALID, reason)
        place = parse_job_id(job_id)
        if place is not None:
            failure = Failure(INVALID_TYPE, reason)
            self.reports.append(
                Report(
                    run_id=place[0],
                    step=place[1],
                    attempt=attempt,
                    outcome="failed",
                    failure=failure,
                    retryable=False,
                )
            )

    def _reject(self, job_id: str, attempt: int, code: Rejection, reason: str) -> None:
        self.rejected.append(Rejected(job_id=job_id, attempt=attempt, code=code, reason=reason))


def read_heartbeat(raw: bytes) -> HeartbeatBody:
    """Decode a heartbeat. Details that are no JSON are dropped: they must not cost a job its lease.

    Raises:
        InvalidJson: the body as a whole is not JSON.
        InvalidField: a field has a wrong type.
    """
    json.check_utf8(raw)
    try:
        return json.decode_unchecked(raw, _HEARTBEAT)
    except InvalidJson:
        rest, jobs = _split(raw, b'"inFlight"')
        body = json.decode_unchecked(rest, _HEARTBEAT)
    body.in_flight = [_in_flight(one) for one in jobs]
    return body


def _in_flight(raw: bytes) -> JobInFlight:
    try:
        return json.decode_unchecked(raw, _IN_FLIGHT)
    except InvalidJson:
        job_id, attempt = _job_of(raw)
        if job_id is None or attempt is None:
            raise
        return JobInFlight(job_id=job_id, attempt=attempt)


def _split(raw: bytes, name: bytes) -> tuple[bytes, list[bytes]]:
    """Cut an array out of a call that cannot be decoded: one entry has a NaN, half a surrogate pair, a thousand levels.

    Gives the call with the array empty, and its entries; the call as it is and none where they cannot be told apart.
    """
    level = 0
    member = b""
    opened = begin = -1
    entries: list[bytes] = []
    for token in islice(_TOKEN.finditer(raw), _TOKENS_MAX):
        text = token[0]
        if text in (b"[", b"{"):
            level += 1
            if level == 2 and member == name and text == b"[":
                opened = begin = token.end()
        elif text in (b"]", b"}"):
            level -= 1
            if level == 1 and opened >= 0:
                entries.append(raw[begin : token.start()])
                return raw[:opened] + raw[token.start() :], [one for one in entries if one.strip()]
        elif text == b",":
            if level == 2 and opened >= 0:
                entries.append(raw[begin : token.start()])
                begin = token.end()
        elif level == 1:
            member = text
    return raw, []


def _job_of(raw: bytes) -> tuple[str | None, int | None]:
    """Find out which attempt a broken result is about."""
    job_id: str | None = None
    attempt: int | None = None
    level = 0
    for token in islice(_TOKEN.finditer(raw), _TOKENS_MAX):
        text = token[0]
        if text in (b"[", b"{"):
            level += 1
        elif text in (b"]", b"}"):
            level -= 1
        elif level == 1 and text == b'"jobId"' and (found := _JOB_ID.match(raw, token.end())):
            job_id = found[1].decode()
        elif level == 1 and text == b'"attempt"' and (found := _ATTEMPT.match(raw, token.end())):
            attempt = int(found[1])
    return job_id, attempt
