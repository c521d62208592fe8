"""What is played on a worker. Each scenario says what it wants to see; what it sees instead is why it has failed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from orchestrator.cli.conformance.contract import DRAIN, LEASE_SECONDS, LEFT_WELL
from orchestrator.cli.conformance.processes import WorkerProcess
from orchestrator.cli.conformance.site import LOST_ATTEMPTS_MAX
from orchestrator.cli.conformance.stage import (
    SOON_SECONDS,
    Play,
    Skipped,
    attempts,
    begins,
    check,
    completed,
    once,
)
from orchestrator.cli.conformance.unknown_fields import unknown_fields

TEXTS: Final = ("Grüße", "🎉", "a\u2028b", "\u0000", '"\\/', "שלום", "", "\U0001f9d1\u200d\U0001f680")
NUMBERS: Final = b'{"big":123456789012345678901234567890,"edge":9007199254740993,"least":-9223372036854775809,"zero":0}'
LARGE: Final = "x" * 1_048_574
"""1 MiB of JSON, with its quotes."""


# --- the scenarios -----------------------------------------------------------------------------------------------


def success(play: Play) -> None:
    """Fifty jobs: each is executed once, and its result is what the handler gave."""
    play.worker()
    payloads: list[Any] = [None, True, 0, -1.5, "", [], {}, {"a": [{"b": None}]}, *range(42)]
    runs = play.site.start_many(play.site.define("echo"), payloads)
    completed(play.site.ended(runs))
    found = [msgspec.json.decode(play.site.output(run_id)) for run_id in runs]
    check(found == payloads, "a result is not what the handler returned")
    once(play, runs)


def error_and_retry(play: Play) -> None:
    """A handler that fails twice: the run shows both errors, and the third attempt's result."""
    play.worker()
    payload = {"until": 2, "message": "no luck 🎲"}
    (run_id,) = play.site.start_many(play.site.define("fail"), [payload])
    (run,) = play.site.ended([run_id])
    completed([run])
    errors = [one["error"] for one in attempts(run)]
    check(len(errors) == 3 and errors[2] is None, f"{len(errors)} attempts and not 3")
    for error in errors[:2]:
        check("no luck 🎲" in error["message"], f"the message is {error['message']!r}")
        check(error["type"], "the error has no type")
    check(play.site.output(run_id) == b"3", f"the result is {play.site.output(run_id)!r} and not the attempt's number")


def no_more_retries(play: Play) -> None:
    """A handler that always fails: the retries of the policy, then one dead letter."""
    play.worker()
    workflow = play.site.define("fail", retry={"maxRetries": 1, "delay": 0})
    (run,) = play.site.ended(play.site.start_many(workflow, [{"until": 99, "message": "never"}]))
    check(run["status"] == "FAILED", f"the run is {run['status']}")
    check(len(attempts(run)) == 2, f"{len(attempts(run))} attempts and not 2")
    check(len(play.site.letters(workflow)) == 1, f"{len(play.site.letters(run['runId']))} dead letters and not 1")


def non_retryable(play: Play) -> None:
    """An error that no retry would mend: one attempt, and the type that the handler gave."""
    play.worker()
    payload = {"until": 99, "message": "no such card", "type": "CardDeclined", "retryable": False}
    (run,) = play.site.ended(play.site.start_many(play.site.define("fail"), [payload]))
    check(run["status"] == "FAILED", f"the run is {run['status']}")
    check(len(attempts(run)) == 1, f"{len(attempts(run))} attempts and not 1")
    check(run["error"]["type"] == "CardDeclined", f"the type is {run['error']['type']!r}")


def retry_later(play: Play) -> None:
    """A handler that says when to try again."""
    play.worker()
    (run,) = play.site.ended(play.site.start_many(play.site.define("fail"), [{"until": 1, "retryAfter": 1.5}]))
    completed([run])
    first, second = attempts(run)
    waited = _seconds(second["scheduledAt"]) - _seconds(first["finishedAt"])
    check(1.4 <= waited <= 4, f"the second attempt came after {waited:.1f} s and not after 1.5 s")


def poison(play: Play) -> None:
    """A job that kills its process: bounded attempts and a dead letter, and no neighbour fails with it."""
    site = play.site
    lives = [play.worker()]
    echo, die = site.define("echo"), site.define("die")
    begins(play, neighbours := site.start_many(echo, range(5)))
    (pill,) = site.start_many(die, [{"until": 99}])
    neighbours += site.start_many(echo, range(20))

    def is_over() -> bool:
        if lives[-1].exit_code is not None:
            lives.append(play.worker())
        return site.run(pill)["endTime"] is not None

    site.until(is_over, "the end of a job that kills its process", 120)
    check(site.run(pill)["status"] == "FAILED", "the job that kills its process has not failed")
    most = LOST_ATTEMPTS_MAX + 1
    count = len(site.begun([pill]))
    check(0 < count <= most, f"it was executed {count} times; {most} are allowed")
    check(len(site.letters(die)) == 1, "it is not one dead letter")
    if lives[-1].exit_code is not None:
        play.worker()
    completed(site.ended(neighbours, 90))


def long_job(play: Play) -> None:
    """A job that takes three leases: the worker keeps it by its heartbeats."""
    play.worker()
    runs = play.site.start_many(play.site.define("wait"), [{"seconds": 3 * LEASE_SECONDS}])
    (run,) = play.site.ended(runs)
    completed([run])
    check(len(attempts(run)) == 1, f"{len(attempts(run))} attempts and not 1")
    once(play, runs)


def heartbeat_details(play: Play) -> None:
    """What a handler says with a heartbeat, the next attempt gets."""
    play.worker()
    (run_id,) = play.site.start_many(play.site.define("progress"), [{"until": 1}])
    completed(play.site.ended([run_id]))
    found = msgspec.json.decode(play.site.output(run_id))
    check(found == {"attempt": 1}, f"the second attempt got {found!r}")


def heartbeat_loss(play: Play) -> None:
    """A worker that freezes with a job in hand: another one does it, and what the first says later changes nothing."""
    site = play.site
    frozen = play.worker()
    runs = site.start_many(site.define("wait"), [{"seconds": 1.5}])
    begins(play, runs)
    frozen.send(signal.SIGSTOP)
    play.worker()
    (run,) = site.ended(runs, 90)
    completed([run])
    before = [one["status"] for one in attempts(run)]
    check(len(before) == 2, f"{len(before)} attempts and not 2")
    frozen.send(signal.SIGCONT)
    # Whatever it says of the old attempt comes before what it says of a new job.
    completed(site.ended(site.start_many(site.define("echo"), range(40))))
    check([one["status"] for one in attempts(site.run(run["runId"]))] == before, "the attempt that was lost came back")
    check(frozen.exit_code is None, "the worker that was frozen has ended")


def cancellation(play: Play) -> None:
    """A run that is cancelled: the handler of its job is told to stop, and the worker goes on."""
    site = play.site
    play.worker()
    runs = site.start_many(site.define("wait"), [{"seconds": 60}])
    begins(play, runs)
    site.cancel(runs[0])
    site.until(lambda: any(one.what == "stopped" for one in site.journal()), "a handler that is told to stop", 10)
    completed(site.ended(site.start_many(site.define("echo"), range(5))))


def drain(play: Play) -> None:
    """SIGTERM with jobs in hand: they are finished and reported, and the process ends well."""
    site = play.site
    leaving = play.worker()
    runs = site.start_many(site.define("wait"), [{"seconds": 1}] * 5)
    begins(play, runs)
    leaving.send(signal.SIGTERM)
    code = leaving.wait(SOON_SECONDS)
    check(code is not None, f"it has not ended within {SOON_SECONDS:g} s of SIGTERM")
    check(code in LEFT_WELL, f"its exit code is {code}")
    found = site.ended(runs)
    completed(found)
    check(all(len(attempts(run)) == 1 for run in found), "a job that was in hand took another attempt")
    once(play, runs)


def release(play: Play) -> None:
    """SIGTERM with a job that takes too long: it is given back, and another worker has it at once."""
    site = play.site
    leaving = play.worker(**{DRAIN: "1"})
    runs = site.start_many(site.define("wait"), [{"seconds": 45}])
    begins(play, runs)
    leaving.send(signal.SIGTERM)
    check(leaving.wait(SOON_SECONDS) in LEFT_WELL, f"its exit code is {leaving.exit_code}")
    first = attempts(site.run(runs[0]))[0]
    check(first["status"] == "RELEASED", f"the attempt that was given back is {first['status']}")
    play.worker()
    site.until(lambda: len(site.begun(runs)) == 2, "another worker with the job that was given back", SOON_SECONDS)


def unicode(play: Play) -> None:
    """Text of all kinds comes back as it was."""
    play.worker()
    runs = play.site.start_many(play.site.define("echo"), TEXTS)
    completed(play.site.ended(runs))
    for text, run_id in zip(TEXTS, runs, strict=True):
        found = msgspec.json.decode(play.site.output(run_id))
        check(found == text, f"{text!r} came back as {found!r}")


def large_payload(play: Play) -> None:
    """A payload of 1 MiB goes out and comes back."""
    play.worker()
    (run_id,) = play.site.start_many(play.site.define("echo"), [LARGE])
    completed(play.site.ended([run_id]))
    check(msgspec.json.decode(play.site.output(run_id)) == LARGE, "it did not come back as it was")


def big_integers(play: Play) -> None:
    """Integers that no double and no 64 bits hold come back to their last digit."""
    play.worker()
    run_id = play.site.start(play.site.define("echo"), NUMBERS)
    completed(play.site.ended([run_id]))
    found = play.site.output(run_id)
    check(_integers(found) == _integers(NUMBERS), f"they came back as {found.decode()}")


def redelivery(play: Play) -> None:
    """Every job comes twice: each has one result, and nothing fails."""
    if play.site.transport != "kafka":
        raise Skipped
    from orchestrator.cli.conformance.topics import write_again  # the client of Kafka takes long to load

    runs = play.site.start_many(play.site.define("echo"), range(30))
    copied = write_again(play.site.kafka, play.site.topics.jobs, {run_id.encode() for run_id in runs})
    check(copied == len(runs), f"{copied} records of {len(runs)} jobs are on the topic")
    play.worker()
    found = play.site.ended(runs)
    completed(found)
    check(all(len(run["stepResults"]) == 1 for run in found), "a job has more than one result")
    check({msgspec.json.decode(play.site.output(run_id)) for run_id in runs} == set(range(30)), "results are mixed up")


def mixed_workers(play: Play) -> None:
    """All workers that are there have the same action, and no group in common: each job is executed by exactly one."""
    commands = list(play.others.values()) if len(play.others) > 1 else [play.command] * 2
    site = play.site
    for command in commands:
        site.worker(command)
    workflow = site.define("echo")

    def all_take_part() -> bool:
        # Until all do: who comes late must not find the work done.
        site.start_many(workflow, range(4))
        return len({entry.pid for entry in site.journal()}) >= len(commands)

    site.until(all_take_part, f"{len(commands)} workers that share the work")
    runs = site.start_many(workflow, range(200))
    completed(site.ended(runs))
    once(play, runs)


def disjoint_actions(play: Play) -> None:
    """One worker for each action: every job comes to the one that has its handler, and none is dropped."""
    site = play.site
    commands = [*play.others.values(), play.command]
    for number, action in enumerate(("echo", "wait")):
        site.worker(commands[number % len(commands)], CONFORMANCE_ACTIONS=action)
    echoes, waits = site.define("echo"), site.define("wait")
    runs = [*site.start_many(echoes, range(50)), *site.start_many(waits, [{"seconds": 0}] * 50)]
    completed(site.ended(runs))
    once(play, runs)


def rolling_restart(play: Play) -> None:
    """Two processes are restarted by turns under load: no job is lost, and none executed twice."""
    site = play.site
    workflow = site.define("echo")
    runs: list[str] = []

    def joined() -> WorkerProcess:
        """Start one, and see it take part: before that it may not know yet what SIGTERM means to it."""
        known = {entry.pid for entry in site.journal()}
        process = play.worker()

        def takes_part() -> bool:
            runs.extend(site.start_many(workflow, range(3)))
            return any(entry.pid not in known for entry in site.journal())

        site.until(takes_part, "a worker that takes part after its start")
        return process

    lives = [joined(), joined()]
    for number in range(4):
        runs += site.start_many(workflow, range(25))
        lives[number % 2].send(signal.SIGTERM)
        runs += site.start_many(workflow, range(25))
        check(lives[number % 2].wait(SOON_SECONDS) in LEFT_WELL, f"an exit code is {lives[number % 2].exit_code}")
        lives[number % 2] = joined()
    completed(site.ended(runs))
    once(play, runs)


def server_restart(play: Play) -> None:
    """The orchestrator is killed and comes back: the worker finds it again, and nothing is lost."""
    site = play.site
    play.worker()
    workflow = site.define("wait")
    begins(play, runs := site.start_many(workflow, [{"seconds": 0.2}] * 10))
    runs += site.start_many(workflow, [{"seconds": 0.2}] * 40)
    site.kill_server()
    runs += site.start_many(workflow, [{"seconds": 0.2}] * 10)
    completed(site.ended(runs))


def broker_restart(play: Play) -> None:
    """The broker is killed and comes back: the worker finds it again, and nothing is lost."""
    if play.site.transport != "kafka" or play.restart_broker is None:
        raise Skipped
    site = play.site
    play.worker()
    workflow = site.define("echo")
    begins(play, runs := site.start_many(workflow, range(20)))
    play.restart_broker()
    runs += site.start_many(workflow, range(20))
    completed(site.ended(runs, 120))


SCENARIOS: Final[Mapping[str, Callable[[Play], None]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        success,
        error_and_retry,
        no_more_retries,
        non_retryable,
        retry_later,
        poison,
        long_job,
        heartbeat_details,
        heartbeat_loss,
        cancellation,
        drain,
        release,
        unicode,
        large_payload,
        big_integers,
        unknown_fields,
        redelivery,
        mixed_workers,
        disjoint_actions,
        rolling_restart,
        server_restart,
        broker_restart,
    )
}
"""By name, in the order in which they are played."""


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _integers(raw: bytes) -> Any:
    # Not msgspec, which reads large ones as floats.
    return json.loads(raw)
