"""The faults. Each is played on a stage under load, and returns when it is over; healing is the stage's business."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic, sleep

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from orchestrator.adapters.kafka.config import GROUP
from stack.kafka_cluster import BROKERS, KafkaCluster
from stack.service import HOST
from tests.chaos import kinds
from tests.chaos.child import Child, until
from tests.chaos.installation import READY_SECONDS, status_of
from tests.chaos.journal import Journal
from tests.chaos.poison import effects_of
from tests.chaos.stage import Stage
from tests.chaos.store import Kept

REACH_SECONDS = 25.0
"""How long a process may take to come to its failpoint before another one is given it: who has a duty comes to points
that others do not."""
TRIES_MAX = 6
RARE_SECONDS = 90.0
"""How long all processes together may take to come to what they do not come to while every call fails."""
OFTEN = (
    *("batch.", "transaction.", "broker.send", "results.", "heartbeats.", "store.due", "outbox.unsent"),
    *("feed.", "duties.", "hints."),
)
SELDOM = (
    *("transaction.add_definition", "transaction.dead_letters", "transaction.settle_dead_letter"),
    *("feed.take_alone", "feed.stops", "duties.give_up"),
)
ALWAYS = ("duties.has", "feed.take", "feed.read", "feed.leftovers")
"""What a process does ten times a second and more, whether there is anything to do or not."""
OFTEN_TIMES_MAX = 10
PRIMES = (5, 7, 11, 13)
ALWAYS_PRIMES = (53, 71, 97, 113)
COMPANY = {"duties.give_up": "store.due=error@3n"}
"""What has to fail so that a process comes to a failpoint."""
PROVOKE_SECONDS = 2.0
LOST_BEYOND = 1_000_000
REFUSED = "the store takes nothing"
"""What the log says of a batch that the database has refused."""
RUNS_BESIDE = 60
"""Runs that have to end while a broker is away."""
REFUSED_SECONDS = 3.0
"""How long it may take until each replica had something refused; one that is about to start or to die has nothing."""


# --- failpoints -----------------------------------------------------------------------------------------------------


def each_failpoint_once(stage: Stage, action: str, names: Sequence[str]) -> None:
    """Let a process die at each failpoint: two replicas walk over them, armed with the next when they are back.

    What neither came to is tried again with the other one stopped.
    """
    waiting = deque(names)
    tries: dict[str, int] = {}
    armed: dict[str, tuple[str, float, int]] = {}
    """By replica: its failpoint, until when it is waited for, and how often it had acted before."""
    replicas = {replica.name: replica for replica in stage.parts.replicas[:2]}
    provoked_on = monotonic()
    while waiting or armed:
        if monotonic() > provoked_on + PROVOKE_SECONDS:
            provoked_on = monotonic()
            _provoke(stage, [name for name, *_ in armed.values()])
        for replica in replicas.values():
            if replica.name in armed:
                name, deadline, before = armed[replica.name]
                if replica.is_alive and monotonic() < deadline:
                    continue
                del armed[replica.name]
                replica.stop()
                if stage.met()[name] > before:
                    stage.note(f"{action} at a failpoint")
                else:
                    tries[name] = tries.get(name, 0) + 1
                    if tries[name] < TRIES_MAX:
                        waiting.append(name)
                    else:
                        stage.wrong.append(f"no process came to {name} within {REACH_SECONDS:g} s, {TRIES_MAX} times")
            else:
                replica.stop()
            others = [name for name, *_ in armed.values()]
            if waiting and not (others and tries.keys() & {waiting[0], *others}):
                # What was not come to has no other process beside it: that may have had the duty, or the partition.
                name = waiting.popleft()
                armed[replica.name] = (name, monotonic() + REACH_SECONDS, stage.met()[name])
                _arm(stage, replica, name, action)
        sleep(0.05)
    _provoke(stage, ())


def _arm(stage: Stage, replica: Child, name: str, action: str) -> None:
    is_frequent = name.startswith(OFTEN) and name not in SELDOM
    times = stage.random.randint(1, OFTEN_TIMES_MAX) if is_frequent else 1
    text = ",".join(filter(None, [f"{name}={action}@{times}", COMPANY.get(name)]))
    stage.parts.replica(replica.name, text).is_kept = False


def _provoke(stage: Stage, names: Iterable[str]) -> None:
    """Do what makes processes come to failpoints that nothing in the load leads to; what was begun for others ends."""
    is_to_lose = "outbox.send_again" in names
    for worker in stage.parts.workers:
        if worker.name.startswith("foreign"):
            # A job that waits long enough for its worker to be missed.
            (worker.freeze if is_to_lose else worker.thaw)()
    if is_to_lose:
        # As after a crash of the broker that took the end of its log.
        lost = f'UPDATE jobs SET "offset" = {LOST_BEYOND} WHERE state = \'sent\' AND "offset" < {LOST_BEYOND}'
        stage.parts.postgres.execute(lost)
    if "feed.take_alone" in names:
        # What was lost with its worker runs alone.
        stage.one_of([worker for worker in stage.parts.workers if worker.name.startswith("http")]).kill()
    if "store.try_write" in names:
        _refuse_writes(stage)


def _refuse_writes(stage: Stage) -> None:
    """Let the database take nothing until each replica has seen it; then ask each how it is: it tries a write."""
    before = {replica.name: _refused(replica) for replica in stage.parts.replicas}
    stage.note("PostgreSQL read-only for a moment")
    _set_read_only(stage, "SET default_transaction_read_only = on")
    try:
        until(
            lambda: all(_refused(one) > before[one.name] for one in stage.parts.replicas if one.is_alive),
            REFUSED_SECONDS,
        )
    finally:
        _set_read_only(stage, "RESET default_transaction_read_only")
    for replica in stage.parts.replicas:
        status_of(stage.parts.port_of(replica))


def _refused(replica: Child) -> int:
    return replica.said().count(REFUSED)


def _set_read_only(stage: Stage, what: str) -> None:
    stage.parts.postgres.execute(f"ALTER SYSTEM {what}")
    stage.parts.postgres.execute("SELECT pg_reload_conf()")


def each_failpoint_often(stage: Stage, action: str, seconds: float, names: Sequence[str]) -> None:
    """Let every call go wrong each so many times, all of them together, until each has gone wrong in some process."""
    kind = action.partition(":")[0]
    arm_all(stage, dict.fromkeys(names, action))
    over = monotonic() + seconds
    until(lambda: monotonic() > over and set(names) <= stage.met().keys(), seconds + 20, look=0.25)
    if rest := [name for name in names if not stage.met()[name]]:
        # What comes after calls that fail is seldom come to while all of them do.
        arm_all(stage, dict.fromkeys(rest, action), times="1")
        until(lambda: _are_met(stage, rest), RARE_SECONDS, look=PROVOKE_SECONDS)
        _provoke(stage, ())
    met = stage.met()
    stage.note(f"{kind} at a failpoint", sum(met[name] for name in names))
    if unmet := [name for name in names if not met[name]]:
        stage.wrong.append(f"no process came to {unmet} within {RARE_SECONDS:g} s of nothing else")


def _are_met(stage: Stage, names: list[str]) -> bool:
    left = [name for name in names if not stage.met()[name]]
    _provoke(stage, left)
    return not left


def arm_all(stage: Stage, actions: dict[str, str], times: str = "") -> None:
    """Start all replicas again, with an action at each of these failpoints, each so many times where none is given."""
    text = ",".join(
        [
            *(f"{name}={action}@{times or _each(name, place)}" for place, (name, action) in enumerate(actions.items())),
            *(company for name, company in COMPANY.items() if name in actions),
        ]
    )
    for replica in stage.parts.replicas:
        replica.stop()
        stage.parts.replica(replica.name, text)


def _each(name: str, place: int) -> str:
    primes = ALWAYS_PRIMES if name in ALWAYS else PRIMES if name.startswith(OFTEN) and name not in SELDOM else (2,)
    return f"{primes[place % len(primes)]}n"


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def postgres_restarts(stage: Stage, seconds: float, pause: float = 3.0) -> None:
    """Restart the database every few seconds, each time in another way."""
    ways = (_stop_fast, _stop_at_once, _kill_main, _kill_all, _kill_session, _end_sessions)
    for turn in stage.for_seconds(seconds, pause):
        ways[turn % len(ways)](stage)
        stage.answered(1)


def _stop_fast(stage: Stage) -> None:
    stage.note("PostgreSQL restarted")
    stage.parts.postgres.stop()
    stage.parts.postgres.start(READY_SECONDS)


def _stop_at_once(stage: Stage) -> None:
    stage.note("PostgreSQL stopped without a checkpoint")
    _signal_postgres(stage, signal.SIGQUIT)
    stage.parts.postgres.start(READY_SECONDS)


def _kill_main(stage: Stage) -> None:
    stage.note("PostgreSQL's main process killed")
    _signal_postgres(stage, signal.SIGKILL)
    stage.parts.postgres.start(READY_SECONDS)


def _kill_all(stage: Stage) -> None:
    stage.note("PostgreSQL killed")
    stage.parts.postgres.kill()
    stage.parts.postgres.start(READY_SECONDS)


def _kill_session(stage: Stage) -> None:
    """Kill one session as the kernel does when memory is short: PostgreSQL takes all others down with it."""
    found = stage.parts.postgres.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'orchestrator' ORDER BY random() LIMIT 1"
    )
    if found:
        stage.note("session of PostgreSQL killed")
        os.kill(int(found), signal.SIGKILL)
        stage.parts.postgres.wait_until_ready()


def _end_sessions(stage: Stage) -> None:
    stage.note("sessions of PostgreSQL ended")
    stage.parts.postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orchestrator'"
    )


def _signal_postgres(stage: Stage, number: signal.Signals) -> None:
    pid = stage.parts.postgres.pid
    if pid is not None:
        os.kill(pid, number)
        until(lambda: stage.parts.postgres.pid is None, 30)


# --- Kafka -----------------------------------------------------------------------------------------------------------


def broker_restarts(stage: Stage, seconds: float, pause: float = 4.0) -> None:
    """Restart the broker every few seconds: by turns stopped and killed."""
    for turn in stage.for_seconds(seconds, pause):
        if turn % 2:
            stage.note("broker restarted")
            stage.parts.kafka.stop()
            stage.parts.kafka.start(READY_SECONDS)
        else:
            stage.note("broker killed")
            stage.parts.kafka.kill()
            stage.parts.kafka.start(READY_SECONDS)
        stage.answered(1)


def broker_down(stage: Stage, seconds: float) -> None:
    """Take the broker away for long; triggers are accepted meanwhile."""
    stage.answered(20)
    stage.note(f"broker away for {seconds:g} s")
    stage.parts.kafka.kill()
    stage.answered(20)
    sleep(seconds)
    stage.parts.kafka.start(READY_SECONDS)
    stage.answered(20)


def brokers_of_a_cluster(stage: Stage, rounds: int = 2) -> None:
    """Take each of three brokers away by turns, killed or stopped; the other two go on, and so does everything."""
    cluster = stage.parts.kafka
    assert isinstance(cluster, KafkaCluster)
    admin = AdminClient({"bootstrap.servers": cluster.url, "log_level": 2})
    stage.ended(20)
    slowest = 0.0
    for turn in range(rounds * len(cluster.brokers)):
        if not until(lambda: _has_all_copies(admin), READY_SECONDS, look=0.25):
            stage.wrong.append("a broker that came back did not catch up with the others")
        broker = cluster.brokers[turn % len(cluster.brokers)]
        if turn < len(cluster.brokers):
            stage.note("one broker of three killed")
            broker.kill()
        else:
            stage.note("one broker of three stopped")
            broker.stop()
        slowest = max(slowest, stage.ended(RUNS_BESIDE))
        broker.start(READY_SECONDS)
    stage.ended(20)
    stage.remarks.append(f"the slowest {RUNS_BESIDE} runs while one was away took {slowest:.1f} s")


def _has_all_copies(admin: AdminClient) -> bool:
    """Whether every copy of every partition is in time."""
    with suppress(KafkaException):
        topics = admin.list_topics(timeout=10).topics.values()
        partitions = [one for topic in topics for one in topic.partitions.values()]
        return bool(partitions) and all(len(one.isrs) == len(one.replicas) == BROKERS for one in partitions)
    return False


def broker_frozen(stage: Stage, seconds: float, times: int = 2) -> None:
    """Let the broker stand still, with every connection open."""
    for _ in range(times):
        stage.answered(20)
        stage.note(f"broker frozen for {seconds:g} s")
        stage.parts.kafka.pause()
        sleep(seconds)
        stage.parts.kafka.resume()
        stage.answered(10)


def results_again(stage: Stage, times: int = 2, after: int = 60) -> None:
    """Let all results and heartbeats be read again from offset 0, while new ones come."""
    groups = [f"{GROUP}.{topic}" for topic in (stage.parts.topics.results, stage.parts.topics.heartbeats)]
    for _ in range(times):
        stage.answered(after)
        for replica in stage.parts.replicas:
            replica.stop()
        until(lambda: _are_forgotten(stage, groups), READY_SECONDS, look=0.5)
        stage.note("all results delivered again from offset 0")
        for replica in stage.parts.replicas:
            replica.start()
        stage.parts.wait_until_ready()
        stage.answered(20)


def results_repeated(stage: Stage, runs: int) -> None:
    """Let runs go by while a part of all results is written again, late and out of order."""
    stage.answered(runs)
    for worker in stage.parts.workers:
        if counts := re.findall(r"repeated (\d+)", worker.said()):
            stage.note("results written again", int(counts[-1]))


def _are_forgotten(stage: Stage, groups: list[str]) -> bool:
    """Delete consumer groups; False while one of them has a member that has not left yet."""
    admin = AdminClient({"bootstrap.servers": stage.parts.kafka.url, "log_level": 2})
    for future in admin.delete_consumer_groups(groups, request_timeout=30).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                return False
    return True


# --- Redis -----------------------------------------------------------------------------------------------------------


def redis_troubles(stage: Stage, seconds: float, pause: float = 1.5) -> None:
    """Flush, kill and freeze Redis by turns."""
    redis = stage.parts.redis
    assert redis is not None
    for turn in stage.for_seconds(seconds, pause):
        if turn % 3 == 0:
            stage.note("Redis flushed")
            with socket.create_connection((HOST, redis.port), 5) as connection:
                connection.sendall(b"FLUSHALL\r\n")
                connection.recv(64)
        elif turn % 3 == 1:
            stage.note("Redis killed, back empty")
            redis.kill()
            stage.answered(5)
            redis.start(READY_SECONDS)
        else:
            stage.note("Redis frozen")
            redis.pause()
            stage.answered(5)
            redis.resume()


# --- workers ---------------------------------------------------------------------------------------------------------


def workers_killed(stage: Stage, seconds: float, pause: float = 2.0) -> None:
    """Kill workers with jobs in hand."""
    for _ in stage.for_seconds(seconds, pause):
        stage.answered(5)
        stage.note("worker killed")
        stage.one_of(stage.parts.workers).kill()


def workers_killed_or_frozen(stage: Stage, seconds: float, pause: float = 2.0) -> None:
    """Kill workers with jobs in hand; each third time freeze one past the lease of its jobs instead."""
    for turn in stage.for_seconds(seconds, pause):
        stage.answered(5)
        worker = stage.one_of(stage.parts.workers)
        if turn % 3 < 2:
            stage.note("worker killed")
            worker.kill()
        else:
            stage.note("worker frozen past its lease")
            worker.freeze()
            sleep(stage.setup.lease_seconds * 2)
            worker.thaw()


def worker_frozen(stage: Stage, times: int = 2) -> None:
    """Freeze a worker past the lease of its jobs, and let it go on with them."""
    for turn in range(times):
        stage.answered(20)
        worker = stage.parts.workers[turn % len(stage.parts.workers)]
        stage.note("worker frozen past its lease")
        worker.freeze()
        sleep(stage.setup.lease_seconds * 2.5)
        worker.thaw()
    stage.answered(10)


def poison(stage: Stage, pills: int) -> None:
    """Wait until the pills have been dead-lettered, while neighbours are served."""
    stage.note("jobs that kill their worker", pills)

    def look_closer(kept: Kept, journal: Journal) -> list[str]:
        setup = stage.setup
        session = kinds.SESSION_SECONDS if setup.workers else 0
        effects = effects_of(kept, journal, setup.lost_attempts_max, setup.lease_seconds, session)
        stage.remarks.append(str(effects))
        return effects.violations

    stage.look_closer = look_closer

    def swallowed() -> bool:
        found = stage.clients.call("GET", "/dead-letters?workflow=poison&limit=100")
        return found is not None and found.status == 200 and len(found.json()) >= pills

    if not until(swallowed, 240, look=0.5):
        stage.wrong.append("the poison was not dead-lettered in time")


# --- replicas --------------------------------------------------------------------------------------------------------


def zombie(stage: Stage, seconds: float, times: int = 2) -> None:
    """Freeze a replica past all that it holds: partitions, transactions, duties; let it go on as if nothing was."""
    for turn in range(times):
        stage.answered(20)
        replica = stage.parts.replicas[turn % len(stage.parts.replicas)]
        stage.note(f"replica frozen for {seconds:g} s")
        replica.freeze()
        sleep(seconds)
        replica.thaw()
        stage.answered(10)


def replicas_killed(stage: Stage, seconds: float, pause: float = 2.0) -> None:
    """Kill replicas."""
    for turn in stage.for_seconds(seconds, pause):
        stage.note("replica killed")
        stage.parts.replicas[turn % len(stage.parts.replicas)].kill()
        stage.answered(5)


def replicas_killed_or_away(stage: Stage, seconds: float, pause: float = 2.0) -> None:
    """Kill replicas that workers over HTTP are at; each third time let one stay away past the leases of their jobs."""
    for turn in stage.for_seconds(seconds, pause):
        replica = stage.parts.replicas[turn % len(stage.parts.replicas)]
        if turn % 3 < 2:
            stage.note("replica killed")
            replica.kill()
        else:
            stage.note(f"replica killed and away for {stage.setup.lease_seconds * 2.5:g} s")
            replica.kill(is_kept=False)
            sleep(stage.setup.lease_seconds * 2.5)
            replica.start()
        stage.answered(5)


def rolling_restart(stage: Stage, times: int = 2) -> None:
    """Restart one replica after another, as an upgrade does."""
    for _ in range(times):
        for replica in stage.parts.replicas:
            code = replica.stop()
            if code != 0:
                stage.wrong.append(f"{replica.name} was asked to go, and ended with {code}")
            stage.note("replica restarted")
            replica.start()
            stage.parts.wait_until_ready(replica)
            stage.answered(5)


# --- everything ------------------------------------------------------------------------------------------------------


def every_part_killed(stage: Stage, runs: int) -> None:
    """Kill each replica, worker, the broker and the database by turns, until all runs were asked for; once at least."""
    parts = stage.parts
    turns: list[Child | str | None] = [None, "postgres", *(["redis"] if parts.redis else [])]
    for place, child in enumerate([*parts.replicas, *parts.workers]):
        turns.insert(place * 2, child)
    is_first = True
    while is_first or not stage.clients.is_done:
        for target in turns:
            if stage.clients.is_done and not is_first:
                return
            if isinstance(target, Child):
                stage.note("replica killed" if target in parts.replicas else "worker killed")
                target.kill()
            elif target is None:
                stage.note("broker killed")
                parts.kafka.kill()
                parts.kafka.start(READY_SECONDS)
            elif target == "redis" and parts.redis is not None:
                stage.note("Redis killed, back empty")
                parts.redis.kill()
                parts.redis.start(READY_SECONDS)
            else:
                stage.note("PostgreSQL killed")
                parts.postgres.kill()
                parts.postgres.start(READY_SECONDS)
            sleep(stage.random.uniform(2.0, 5.0))
        is_first = False
