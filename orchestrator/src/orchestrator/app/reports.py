"""From what a worker wrote to reports the engine can decide on. One bad result never costs its neighbours."""

from __future__ import annotations

from typing import Final

import msgspec

from orchestrator.model import json
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import Failure
from orchestrator.model.job import Rejection, Report, parse_job_id
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.times import Duration, parse_duration
from orchestrator.model.wire import ErrorBody, ExchangeBody, LooseExchangeBody, Rejected, ResultBody

INVALID_TYPE: Final = "ResultInvalid"
"""The type of the failure of an attempt whose report broke a rule of the protocol."""

_EXCHANGE: Final = msgspec.json.Decoder(ExchangeBody)
_LOOSE: Final = msgspec.json.Decoder(LooseExchangeBody)
_RESULT: Final = msgspec.json.Decoder(ResultBody)


class _JobOnly(msgspec.Struct, rename="camel"):
    """The two fields that say which attempt a broken result is about."""

    job_id: str
    attempt: int


_JOB_ONLY: Final = msgspec.json.Decoder(_JobOnly)


class Reports:
    """The results of one exchange, checked."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
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
            loose = json.decode_unchecked(raw, _LOOSE)
            for one in loose.results:
                self._add_loose(bytes(one))
            return loose
        odd = json.may_break_limits(raw, self._limits)
        for result in body.results:
            self._add(result, odd)
        return body

    def _add_loose(self, raw: bytes) -> None:
        try:
            self._add(_RESULT.decode(raw), True)
        except msgspec.ValidationError as error:
            problem = json.field_error(error)
            self._reject_raw(raw, f"{problem.field}: {problem.reason}")

    def _reject_raw(self, raw: bytes, reason: str) -> None:
        try:
            job = _JOB_ONLY.decode(raw)
        except msgspec.MsgspecError:
            self.rejected.append(Rejected(job_id=None, attempt=None, code=Rejection.INVALID, reason=reason))
            return
        self._fail(job.job_id, job.attempt, reason)

    def _add(self, body: ResultBody, odd: bool) -> None:
        place = parse_job_id(body.job_id)
        if place is None:
            reason = "jobId is not one of this orchestrator's"
            self._reject(body.job_id, body.attempt, Rejection.UNKNOWN, reason)
            return
        result = bytes(body.result)
        if len(result) > self._limits.payload_bytes_max or odd:
            try:
                json.check_json(result, self._limits)
                json.check_payload(result, self._limits, "result")
            except OrchestratorError as error:
                self._fail(body.job_id, body.attempt, str(error))
                return
        report = Report(
            run_id=place[0], step=place[1], attempt=body.attempt, outcome=body.status, result=Json(result)
        )
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
