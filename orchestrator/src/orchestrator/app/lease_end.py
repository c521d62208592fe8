"""What is decided about the attempt of a lease: that it has started, and how it ends without its worker's word."""

from __future__ import annotations

from orchestrator.app.command import Direct
from orchestrator.app.lease import Lease
from orchestrator.engine.command import LoseAttempt, StartAttempt, TimeOutAttempt
from orchestrator.model.times import seconds


def start_of(lease: Lease) -> Direct:
    """Record the start, and until when the lease lasts."""
    # By the monotonic clock from the start on, so that nobody's lease changes with the time of day.
    lease_until = lease.started_at + lease.ends_on - lease.granted_on
    return Direct(
        lease.job.run_id,
        StartAttempt(lease.job.step, lease.job.attempt, lease.worker, lease.started_at),
        details=lease.details,
        lease_until=lease_until,
    )


def timed_out(lease: Lease, draw: float, *, suspect: bool) -> Direct:
    """End an attempt whose timeout ran out; ``suspect`` where its worker may have died with it."""
    return _ending(lease, TimeOutAttempt(lease.job.step, lease.job.attempt, draw, suspect=suspect))


def silent(lease: Lease, lost_attempts_max: int, draw: float) -> Direct:
    """End an attempt whose worker gives no sign of life."""
    reason = f"worker {lease.worker} gave no sign of life for {seconds(lease.length)} s"
    return _ending(lease, LoseAttempt(lease.job.step, lease.job.attempt, reason, lost_attempts_max, draw))


def lost_on_the_way(lease: Lease, lost_attempts_max: int, draw: float) -> Direct:
    """End an attempt that its worker does not name among those it has."""
    reason = f"worker {lease.worker} does not know of the job: it was lost on the way"
    return _ending(lease, LoseAttempt(lease.job.step, lease.job.attempt, reason, lost_attempts_max, draw))


def _ending(lease: Lease, command: TimeOutAttempt | LoseAttempt) -> Direct:
    return Direct(lease.job.run_id, command, details=lease.details, worker=lease.worker or None)
