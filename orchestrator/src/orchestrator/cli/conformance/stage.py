"""What a scenario is given, and what most of them look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from orchestrator.cli.conformance.processes import WorkerProcess
from orchestrator.cli.conformance.site import Failed, Site

Command = Sequence[str]
SOON_SECONDS: Final = 15.0


class Play(NamedTuple):
    """What a scenario is played with."""

    site: Site
    command: Command
    """The worker under test."""
    others: Mapping[str, Command]
    """All workers that were given, by name."""
    restart_broker: Callable[[], None] | None = None
    """Kills the broker and starts it again; None where nobody said how."""

    def worker(self, **environ: str) -> WorkerProcess:
        """Start the worker under test."""
        return self.site.worker(self.command, **environ)


class Skipped(Exception):
    """A scenario that has no meaning here."""


def check(holds: object, what: str) -> None:
    """Fail where something is not so."""
    if not holds:
        raise Failed(what)


def completed(runs: Sequence[dict[str, Any]]) -> None:
    """Expect that all have completed."""
    states = Counter(run["status"] for run in runs)
    check(states == {"COMPLETED": len(runs)}, f"of {len(runs)} runs: {dict(states)}")


def once(play: Play, run_ids: Sequence[str]) -> None:
    """Expect that each job was executed once."""
    counts = Counter(entry.job_id for entry in play.site.begun(run_ids))
    twice = sum(count > 1 for count in counts.values())
    check(not twice, f"{twice} of {len(run_ids)} jobs were executed more than once")
    check(len(counts) == len(run_ids), f"{len(counts)} of {len(run_ids)} executions are in the journal")


def attempts(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the attempts of a run of one step."""
    found: list[dict[str, Any]] = run["steps"][0]["attempts"]
    return found


def begins(play: Play, run_ids: Sequence[str], seconds: float = SOON_SECONDS) -> None:
    """Wait until handlers have begun with all of these runs."""
    site = play.site

    def have_begun() -> bool:
        return len({one.job_id for one in site.begun(run_ids)}) == len(run_ids)

    site.until(have_begun, "the begin of a job", seconds, by_workers=True)
