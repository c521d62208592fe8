"""Requests to the orchestrator that look, at the very moment of the answer, whether it was allowed to give it."""

from __future__ import annotations

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.waits import Caller
from orchestrator.model.event import AttemptStarted
from orchestrator.model.job import parse_job_id
from orchestrator.model.wire import ExchangeAnswer, HeartbeatAnswer, HeartbeatBody, JobOut
from tests.simulation.journal import AttemptKey, Grant
from tests.simulation.process import Request
from tests.simulation.world import World

_ROW = """
    SELECT attempt, state, alone FROM jobs JOIN runs ON runs.seq = jobs.run_seq WHERE run_id = ? AND step = ?"""


def key_of(job_id: str, attempt: int) -> AttemptKey:
    """Read which attempt a job is."""
    place = parse_job_id(job_id)
    assert place is not None
    return (*place, attempt)


def exchange(world: World, worker_id: str, raw: bytes) -> Request[ExchangeAnswer]:
    """Exchange, and check what is handed out."""

    async def request(orchestrator: Orchestrator, caller: Caller) -> ExchangeAnswer:
        answer = await orchestrator.gateway.exchange(worker_id, raw, caller)
        journal = world.journal
        for rejected in answer.rejected:
            journal.met(f"rejected: {rejected.code}")
        if answer.cancelled:
            journal.met("worker was told to stop a job")
        for job in answer.jobs:
            _granted(world, worker_id, job)
        in_hand = orchestrator.gateway.in_hand(worker_id)
        if len(in_hand) > 1 and any(lease.job.alone for lease in in_hand):
            names = [f"{lease.job.job_id} attempt {lease.job.attempt}" for lease in in_hand]
            journal.violate("suspects run alone", f"{worker_id} has {names}")
        return answer

    return request


def heartbeat(world: World, worker_id: str, body: HeartbeatBody) -> Request[HeartbeatAnswer]:
    """Send a heartbeat, and note whose life it was a sign of."""

    async def request(orchestrator: Orchestrator, caller: Caller) -> HeartbeatAnswer:
        answer = orchestrator.gateway.heartbeat(worker_id, body)
        if answer.unknown:
            world.journal.met("worker was told that a job is not its own")
        named = {key_of(job.job_id, job.attempt) for job in body.in_flight}
        for lease in orchestrator.gateway.in_hand(worker_id):
            key = (*lease.key, lease.job.attempt)
            grant = world.journal.grants[key][-1]
            if key in named:
                grant.signs.append(world.journal.second())
                grant.missed = 0
            else:
                grant.missed += 1
        return answer

    return request


def _granted(world: World, worker_id: str, job: JobOut) -> None:
    """A job that is handed out is what the store says is to be handed out, and in nobody else's hands."""
    journal = world.journal
    life = 0 if world.process is None else world.process.number
    run_id, step, attempt = key = key_of(job.job_id, job.attempt)
    row = world.database.writer.execute(_ROW, (run_id, step)).fetchone()
    if row != (attempt, "pending", job.alone):
        journal.violate("I10", f"{job.job_id} attempt {attempt} went to {worker_id}, but its row is {row}")
    for earlier in journal.grants[key]:
        if earlier.life == life:
            journal.violate("I10", f"{job.job_id} attempt {attempt} went to {earlier.worker} and to {worker_id}")
    committed = [one.event for one in journal.events[run_id] if isinstance(one.event, AttemptStarted)]
    if any((event.step, event.attempt) == (step, attempt) for event in committed):
        journal.violate("I10", f"{job.job_id} attempt {attempt} was recorded as started and handed out again")
    if run_id in journal.cancelled:
        journal.violate("I11", f"{job.job_id} went out after its run's cancel was answered")
    if journal.grants[key]:
        journal.met("attempt handed out again by a new process")
    if job.alone:
        journal.met("suspect ran alone")
    now = journal.second()
    grant = Grant(now, life, worker_id, job.action, job.alone, bytes(job.payload), job.lease, [now])
    journal.grants[key].append(grant)
