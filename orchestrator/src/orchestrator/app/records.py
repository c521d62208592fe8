"""From records of a broker to reports and signs of life. One bad record never costs its neighbours."""

from __future__ import annotations

import contextlib
from typing import Final, NamedTuple

import msgspec

from orchestrator.app.reports import Reports
from orchestrator.model import json, times
from orchestrator.model.definition import id_problem
from orchestrator.model.errors import InvalidRequest, OrchestratorError
from orchestrator.model.job import ANY_STEP, Report, parse_job_id
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.record import BeatRecord, HeartbeatRecord, ResultRecord
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.model.worker import About, Transport
from orchestrator.ports.broker import Incoming
from orchestrator.ports.outbox import Beat

_RESULT: Final = msgspec.json.Decoder(ResultRecord)
_HEARTBEAT: Final = msgspec.json.Decoder(HeartbeatRecord)
_LEASE_MIN: Final = MICROS
_COUNT_MAX: Final = 2**53
BEATS_MISSED: Final = 3
"""A worker that says how often it beats counts as there for so many times that long."""
WORD_CHARS_MAX: Final = 255
"""Characters of each thing that a worker says of itself; the rest is cut off."""


class Results:
    """The results of some records."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._reports = Reports(limits)
        self.refused: list[tuple[Incoming, str]] = []
        """Records that nobody can read, and why."""

    @property
    def reports(self) -> list[Report]:
        """What they say, checked."""
        return self._reports.reports

    def add(self, record: Incoming) -> None:
        """Read a record."""
        try:
            if len(record.value) > self._limits.request_bytes_max:
                raise InvalidRequest(f"more than {self._limits.request_bytes_max:,} bytes")
            json.check_utf8(record.value)
            body = json.decode_unchecked(record.value, _RESULT)
        except OrchestratorError as error:
            self.refused.append((record, str(error)))
            return
        before = len(self.reports)
        odd = json.may_break_limits(record.value, self._limits)
        if body.job_id is not None and body.attempt is not None:
            self._reports.add(body.job_id, body.attempt, body, odd=odd)
        else:
            # Any run's id and step will do to check the rest; which step is meant is decided with the run in sight.
            self._reports.add(f"{body.workflow_run_id}:0", 1, body, odd=odd)
            for report in self.reports[before:]:
                report.run_id = RunId(body.workflow_run_id)
                report.step, report.action, report.produced_at = ANY_STEP, body.action or "", record.produced_at
        for report in self.reports[before:]:
            report.worker = body.worker_id[: self._limits.id_length_max]
            report.started_at = _time(body.started_at)
        if len(self.reports) == before:
            self.refused.append((record, "jobId is not one of this orchestrator's"))


class Heard(NamedTuple):
    """A worker that has given a sign of life."""

    worker_id: str
    about: About
    good_for: Duration
    """How long it counts as there when nothing more is heard."""
    is_leaving: bool
    produced_at: Time
    is_full: bool = False
    """Whether it says that it could not start another job."""


class Beats:
    """The signs of life in some records."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.beats: list[Beat] = []
        self.workers: dict[str, Heard] = {}
        """Who has given them, by id."""
        self.refused: list[str] = []
        """Why records could not be read."""

    def add(self, record: Incoming) -> None:
        """Read a record."""
        try:
            json.check_utf8(record.value)
            body = json.decode_unchecked(record.value, _HEARTBEAT)
            lease = self._lease(body)
        except (OrchestratorError, ValueError) as error:
            self.refused.append(str(error))
            return
        if id_problem(body.worker_id, self._limits) is None:
            self.workers[body.worker_id] = Heard(
                body.worker_id,
                self._about(body),
                self._good_for(body, lease),
                body.leaving,
                record.produced_at,
                is_full=body.capacity is not None and body.capacity <= 0,
            )
        for beat in body.in_flight:
            place = parse_job_id(beat.job_id)
            if place is not None:
                self.beats.append(self._beat(place, beat, body.worker_id, lease))

    def _beat(self, place: tuple[RunId, int], beat: BeatRecord, worker: str, lease: Duration) -> Beat:
        details = bytes(beat.details)
        kept: Json | None = None
        if 0 < len(details) <= self._limits.heartbeat_details_bytes_max:
            with contextlib.suppress(OrchestratorError):
                json.check_json(details, self._limits)
                kept = Json(details)
        started_at = _time(beat.started_at)
        return Beat(*place, beat.attempt, worker[: self._limits.id_length_max], lease, kept, started_at)

    def _about(self, body: HeartbeatRecord) -> About:
        named = [action for action in body.actions if id_problem(action, self._limits) is None]
        return About(
            transport=Transport.KAFKA,
            actions=tuple(dict.fromkeys(named[: self._limits.actions_per_worker_max])),
            sdk=_cut(body.sdk),
            version=_cut(body.version),
            host=_cut(body.host),
            pid=_count(body.pid),
            concurrency=_count(body.concurrency),
        )

    def _good_for(self, body: HeartbeatRecord, lease: Duration) -> Duration:
        if body.heartbeat is not None:
            with contextlib.suppress(ValueError):
                every = times.parse_duration(body.heartbeat)
                most = round(self._limits.lease_seconds_max * MICROS)
                return Duration(min(most, max(_LEASE_MIN, every * BEATS_MISSED)))
        return Duration(max(lease, round(self._limits.worker_presence_seconds * MICROS)))

    def _lease(self, body: HeartbeatRecord) -> Duration:
        most = round(self._limits.lease_seconds_max * MICROS)
        if body.lease is None:
            return Duration(round(self._limits.lease_seconds_default * MICROS))
        return Duration(min(most, max(_LEASE_MIN, times.parse_duration(body.lease))))


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:WORD_CHARS_MAX]


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= _COUNT_MAX else None


def _time(text: str | None) -> Time | None:
    if text is None:
        return None
    try:
        return times.parse_time(text)
    except (ValueError, OverflowError):
        return None
