"""Who acts on what has committed: the gateway of this process, or a broker (see `pipeline.World`)."""

from __future__ import annotations

from orchestrator.app.feeding import Feeding
from orchestrator.app.gateway import Gateway
from orchestrator.app.outgoing import Outgoing
from orchestrator.app.waits import Waits
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.job import Job
from orchestrator.model.run import RunId


class QueueWorld:
    """The gateway acts on jobs, the waits on runs."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self.gateway: Gateway | None = None

    def dead_lettered(self, letters: list[DeadLetter]) -> None:
        """Nobody is told: letters are read from the store."""

    def dispatch(self, jobs: list[Job]) -> None:
        """See `pipeline.World.dispatch`."""
        if self.gateway is not None:
            self.gateway.dispatch(jobs)

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """See `pipeline.World.withdraw`."""
        if self.gateway is not None:
            self.gateway.withdraw(run_id, step, attempt)

    def reported(self, run_id: RunId, step: int, attempt: int) -> None:
        """See `pipeline.World.reported`."""
        if self.gateway is not None:
            self.gateway.reported(run_id, step, attempt)

    def run_ended(self, run_id: RunId) -> None:
        """See `pipeline.World.run_ended`."""
        self._waits.run_ended(run_id)

    def doubt(self, steps: list[tuple[RunId, int]]) -> None:
        """See `pipeline.World.doubt`."""
        if self.gateway is not None:
            self.gateway.doubt(steps)


class BrokerWorld:
    """A broker takes jobs to workers; those over HTTP get theirs from it by way of this process."""

    def __init__(self, waits: Waits, outgoing: Outgoing) -> None:
        self._waits = waits
        self._outgoing = outgoing
        self.feeding: Feeding | None = None

    def dispatch(self, jobs: list[Job]) -> None:
        """See `pipeline.World.dispatch`."""
        self._outgoing.dispatch(jobs)

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """See `pipeline.World.withdraw`."""
        self._outgoing.withdraw(run_id, step, attempt)
        if self.feeding is not None:
            self.feeding.withdraw(run_id, step, attempt)

    def reported(self, run_id: RunId, step: int, attempt: int) -> None:
        """See `pipeline.World.reported`."""
        self._outgoing.reported(run_id, step)
        if self.feeding is not None:
            self.feeding.reported(run_id, step, attempt)

    def dead_lettered(self, letters: list[DeadLetter]) -> None:
        """See `pipeline.World.dead_lettered`."""
        self._outgoing.dead_lettered(letters)

    def run_ended(self, run_id: RunId) -> None:
        """See `pipeline.World.run_ended`."""
        self._waits.run_ended(run_id)

    def doubt(self, steps: list[tuple[RunId, int]]) -> None:
        """What the store says waits is sent again when its time has come."""
