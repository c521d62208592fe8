"""What an observer who sees everything wrote down: commits, grants, executions and answers, in virtual time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.event import AttemptFailed, Event
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.ports.store import RunChange

StepKey = tuple[RunId, int]
AttemptKey = tuple[RunId, int, int]


@dataclass(slots=True)
class Committed:
    """An event at the moment it became durable."""

    second: float
    life: int
    """The process that wrote it, counted from 1."""
    event: Event


@dataclass(slots=True)
class Grant:
    """A job handed out by the orchestrator."""

    second: float
    life: int
    worker: str
    action: str
    alone: bool
    payload: bytes
    lease: float
    """Seconds a sign of life is good for."""
    signs: list[float]
    """When the worker gave a sign of life about this attempt; the grant is the first."""
    missed: int = 0
    """Heartbeats in a row that left it out."""


@dataclass(slots=True)
class Execution:
    """A handler that began."""

    second: float
    worker: str
    payload: bytes
    result: bytes | None = None


@dataclass(slots=True)
class Accepted:
    """A trigger that was answered with a run."""

    run_id: RunId
    workflow_id: str
    marker: str
    """Names the caller's intention; a repetition has the same one."""
    key: str | None
    input: bytes
    created: bool


@dataclass
class Journal:
    """The observer's notes."""

    second: Callable[[], float]
    lines: list[str] = field(default_factory=list)
    events: defaultdict[RunId, list[Committed]] = field(default_factory=lambda: defaultdict(list))
    results: defaultdict[StepKey, list[Json]] = field(default_factory=lambda: defaultdict(list))
    letters: dict[str, list[DeadLetter]] = field(default_factory=dict)
    grants: defaultdict[AttemptKey, list[Grant]] = field(default_factory=lambda: defaultdict(list))
    executions: defaultdict[AttemptKey, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    accepted: list[Accepted] = field(default_factory=list)
    cancelled: dict[RunId, float] = field(default_factory=dict)
    """Runs whose cancel was answered with success, and when."""
    settled: dict[str, str] = field(default_factory=dict)
    """Dead letters whose redrive or discard was answered with success."""
    seen: dict[RunId, int] = field(default_factory=dict)
    """How long a run's history was when somebody read it last."""
    deaths: dict[str, float] = field(default_factory=dict)
    """When workers died."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From when to when no process served."""
    sometimes: Counter[str] = field(default_factory=Counter)
    """How often a thing that ought to happen now and then has happened."""
    violations: list[str] = field(default_factory=list)
    closed: bool = False
    """Whether the verdict is spoken: what the loop takes down afterwards is not part of the story."""

    def note(self, text: str) -> None:
        """Write a line of the trace."""
        if self.closed:
            return
        self.lines.append(f"{self.second():9.4f} {text}")

    def met(self, name: str) -> None:
        """Count something rare, and trace it."""
        self.sometimes[name] += 1
        self.note(f"* {name}")

    def violate(self, invariant: str, text: str) -> None:
        """Record that an invariant does not hold."""
        self.violations.append(f"{invariant}: {text}")
        self.note(f"! {invariant}: {text}")

    def commit(self, life: int, changes: list[RunChange]) -> None:
        """Note what a transaction made durable."""
        second = self.second()
        for change in changes:
            run_id = change.state.run_id
            for event in change.events:
                self.events[run_id].append(Committed(second, life, event))
                self.note(f"{run_id} {event}")
                timed_out = isinstance(event, AttemptFailed) and event.timed_out
                self.sometimes["AttemptTimedOut" if timed_out else type(event).__name__] += 1
            if change.result is not None:
                self.results[run_id, change.result[0]].append(change.result[1])
            if change.dead_letter is not None:
                self.letters.setdefault(change.dead_letter.id, []).append(change.dead_letter)

    @property
    def trace(self) -> str:
        """Give everything that happened."""
        return "\n".join(self.lines)

    @property
    def fingerprint(self) -> str:
        """Give a hash of everything that happened."""
        return sha256(self.trace.encode()).hexdigest()
