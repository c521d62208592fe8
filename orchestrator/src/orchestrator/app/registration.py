"""What a worker over HTTP says of itself, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from orchestrator.app.workers import Worker
from orchestrator.model import times
from orchestrator.model.definition import id_problem
from orchestrator.model.errors import FieldError, InvalidField
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS
from orchestrator.model.wire import RegisterBody
from orchestrator.model.worker import About, Transport

_LEASE_MIN: Final = MICROS


def check(body: RegisterBody, worker_id: str, limits: Limits) -> None:
    """Check the names.

    Raises:
        InvalidField: one cannot be.
    """
    errors: list[FieldError] = []
    if len(body.actions) > limits.actions_per_worker_max:
        reason = f"more than {limits.actions_per_worker_max:,} (actions_per_worker_max)"
        errors.append(FieldError("actions", reason, "register several workers"))
    named: Collection[tuple[str, str]] = [
        ("workerId", worker_id),
        *((f"actions[{place}]", action) for place, action in enumerate(body.actions)),
    ]
    for field, value in named:
        if problem := id_problem(value, limits):
            errors.append(FieldError(field, problem.reason, problem.mend))
    if errors:
        raise InvalidField("the registration is not valid", errors)


def check_count(body: RegisterBody, workers: Iterable[Worker], actions_max: int) -> None:
    """Where each action costs a reader of the broker: check how many there would be.

    Raises:
        InvalidField: too many.
    """
    known = {action for worker in workers if not worker.left for action in worker.actions}
    new = set(body.actions) - known
    if new and len(known) + len(new) > actions_max:
        reason = f"with these this process would read the jobs of more than {actions_max:,} actions (feed_actions_max)"
        mend = "register at another process, or start the worker with the address of Kafka"
        raise InvalidField("the registration is not valid", [FieldError("actions", reason, mend)])


def about(body: RegisterBody) -> About:
    """Read what it says of itself."""
    return About(
        transport=Transport.HTTP,
        actions=tuple(dict.fromkeys(body.actions)),
        sdk=body.sdk,
        version=body.version,
        host=body.host,
        pid=body.pid,
        concurrency=body.concurrency,
    )


def lease_of(body: RegisterBody, limits: Limits) -> int:
    """Read the lease, in microseconds.

    Raises:
        InvalidField: it is no duration, or too short or long.
    """
    if body.lease is None:
        return round(limits.lease_seconds_default * MICROS)
    try:
        lease = times.parse_duration(body.lease)
    except ValueError as error:
        raise InvalidField(str(error), [FieldError("lease", str(error), 'send "30s" or 30')]) from None
    most = round(limits.lease_seconds_max * MICROS)
    if not _LEASE_MIN <= lease <= most:
        reason = f"not between 1 s and {times.seconds(most)} s (lease_seconds_max)"
        raise InvalidField(reason, [FieldError("lease", reason, "choose one between")])
    return lease
