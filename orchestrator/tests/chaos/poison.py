"""What a job that kills its worker may do to itself, and to its neighbours: checked from the histories and journals.

Rule 1: the pill has its bounded attempts, each in one process, and one dead letter.
Rule 2: a neighbour's job is lost with it once at most, and never without a death.
Rule 3: what was lost begins again within its lease and `MARGIN_SECONDS` of the death, and a session of the group for
        each pill that kills somebody meanwhile: so long a part of it stands still. No neighbour's step takes longer
        than that from its first attempt to its end, its own work left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from orchestrator.model import event as events
from orchestrator.model.event import Event
from orchestrator.model.times import MICROS
from tests.chaos import kinds
from tests.chaos.journal import Execution, Journal
from tests.chaos.store import Kept, Run, by_run

NOTICED_SECONDS: Final = 3.0
"""How long it may take until a job is known to be in hand, and until it is seen that its lease has ended."""
SPARE_SECONDS: Final = 3.0
"""For the retry's delay, what runs alone before, and a machine that has other work to do."""
MARGIN_SECONDS: Final = NOTICED_SECONDS + SPARE_SECONDS
"""Beyond the lease."""


@dataclass
class Death:
    """A process that a pill has ended."""

    pill: str
    """The run."""
    at: float
    """Seconds since 1970."""
    lost: set[Execution]
    """What else its handlers were at."""


@dataclass
class Patience:
    """How long a neighbour may wait."""

    alone: float
    """Where nobody dies meanwhile."""
    session: float
    deaths: list[Death]

    def limit(self, since: float, until: float) -> float:
        """Give the seconds that may go by, where so much time did."""
        pills = {death.pill for death in self.deaths if since - self.session <= death.at <= until}
        return self.alone + self.session * len(pills)


@dataclass
class Effects:
    """What the pills did."""

    deaths: int = 0
    lost: int = 0
    """Jobs of neighbours that were lost with a pill."""
    again_seconds: float = 0.0
    """The longest that one of them took from the death to its next attempt."""
    step_seconds: float = 0.0
    """The longest that a step of a neighbour took, its own work left out."""
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.deaths} deaths, {self.lost} neighbours lost once, the slowest begun again after "
            f"{self.again_seconds:.1f} s, the slowest step of a neighbour {self.step_seconds:.1f} s late"
        )


def effects_of(kept: Kept, journal: Journal, losses_max: int, lease: float, session: float) -> Effects:
    """Look at everything once it has come to rest.

    Args:
        kept: what the database says.
        journal: what the workers say.
        losses_max: how often a pill may be lost and is tried again.
        lease: seconds that a silent worker keeps its jobs.
        session: seconds for which a pill holds up the others; 0 where workers are in no group.
    """
    effects = Effects()
    pills = {run_id for run_id, run in kept.runs.items() if run.input["kind"] == kinds.POISON}
    deaths = list(_deaths(journal, pills))
    effects.deaths = len(deaths)
    for run_id in sorted(pills):
        effects.violations += _pill(run_id, kept, journal, losses_max)
    for run_id, run in kept.runs.items():
        if run_id not in pills:
            _neighbour(run_id, run, journal, deaths, Patience(lease + MARGIN_SECONDS, session, deaths), effects)
    return effects


def _deaths(journal: Journal, pills: set[str]) -> Iterator[Death]:
    for life in journal.lives:
        swallowed = [line for line in life if line.execution.run_id in pills]
        if swallowed:
            begun = {line.execution for line in life if line.word == "begin"}
            ended = {line.execution for line in life if line.word == "end"}
            pill = swallowed[0].execution
            yield Death(pill.run_id, swallowed[0].at, begun - ended - {pill})


def _pill(run_id: str, kept: Kept, journal: Journal, losses_max: int) -> Iterator[str]:
    history = kept.runs[run_id].events
    counts = Counter(type(event).__name__ for event in history)
    expected = losses_max + 1
    if (counts["StepQueued"], counts["AttemptLost"]) != (expected, expected):
        yield f"the pill {run_id} had {counts['StepQueued']} attempts and lost {counts['AttemptLost']}, not {expected}"
    alone = [event.alone for event in history if isinstance(event, events.StepQueued)]
    if alone != [False] + [True] * (len(alone) - 1):
        yield f"the attempts of the pill {run_id} ran alone: {alone}"
    begun = {execution.attempt: count for execution, count in journal.begun.items() if execution.run_id == run_id}
    if begun != dict.fromkeys(range(1, expected + 1), 1):
        yield f"the pill {run_id} was begun so often: {begun}"
    letters = by_run(kept.letters)[run_id]
    if len(letters) != 1:
        yield f"the pill {run_id} has {len(letters)} dead letters"


def _neighbour(
    run_id: str, run: Run, journal: Journal, deaths: list[Death], patience: Patience, effects: Effects
) -> None:
    for step, history in _by_step(run.events).items():
        lost = [event for event in history if isinstance(event, events.AttemptLost)]
        if len(lost) > 1:
            effects.violations.append(f"{run_id} step {step} was lost {len(lost)} times beside a pill")
        for event in lost:
            effects.lost += 1
            queued = next(one for one in history if isinstance(one, events.StepQueued) and one.attempt == event.attempt)
            died_at = _death_of(Execution(run_id, step, event.attempt), queued.at / MICROS, deaths)
            again = journal.begun_at[Execution(run_id, step, event.attempt + 1)]
            if died_at is None or died_at > event.at / MICROS:
                effects.violations.append(f"{run_id} step {step} attempt {event.attempt} was lost, and nobody had died")
            elif again:
                waited, limit = min(again) - died_at, patience.limit(died_at, min(again))
                effects.again_seconds = max(effects.again_seconds, waited)
                if waited > limit:
                    effects.violations.append(
                        f"{run_id} step {step} began again {waited:.1f} s after its worker had died, not {limit:.1f} s"
                    )
        late, limit = _late(run_id, step, history, journal), patience.limit(*_span(history))
        effects.step_seconds = max(effects.step_seconds, late)
        if late > limit:
            effects.violations.append(f"{run_id} step {step} was {late:.1f} s late beside a pill, not {limit:.1f} s")


def _death_of(execution: Execution, queued_at: float, deaths: list[Death]) -> float | None:
    """Say when the worker died that had a job: by its journal, or the first death since the job was there."""
    known = [death.at for death in deaths if execution in death.lost]
    return min(known or [death.at for death in deaths if death.at >= queued_at], default=None)


def _late(run_id: str, step: int, history: list[Event], journal: Journal) -> float:
    """Count from when a step was there to its end, without the work of the attempt that counts."""
    queued = next(event for event in history if isinstance(event, events.StepQueued))
    completed = next((event for event in history if isinstance(event, events.StepCompleted)), None)
    if completed is None:
        return 0.0
    place = Execution(run_id, step, completed.attempt)
    ends, begun = journal.ended_at[place], journal.begun_at[place]
    work = min(ends) - min(begun) if ends and begun else 0.0
    return (completed.at - queued.at) / MICROS - work


def _span(history: list[Event]) -> tuple[float, float]:
    return min(event.at for event in history) / MICROS, max(event.at for event in history) / MICROS


def _by_step(history: list[Event]) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    for event in history:
        step = getattr(event, "step", None)
        if step is not None:
            found.setdefault(step, []).append(event)
    return found
