"""Signs of life of workers where leases are rows: from whichever side they come in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.app.command import Direct
from orchestrator.app.pipeline import Pipeline
from orchestrator.engine.command import StartAttempt
from orchestrator.ports.clock import Clock
from orchestrator.ports.outbox import Beat, Outbox


class Signs:
    """Renews leases."""

    def __init__(self, outbox: Outbox, pipeline: Pipeline, clock: Clock) -> None:
        self._outbox = outbox
        self._pipeline = pipeline
        self._clock = clock

    async def renew(self, beats: Sequence[Beat]) -> list[Beat]:
        """Prolong leases, and record the start of attempts of which nothing was known.

        Returns:
            The signs of life of attempts that are over, or in another worker's hands.
        """
        renewed = await self._outbox.renew(beats, self._clock.now())
        unknown = [beat for beat, known in zip(beats, renewed, strict=True) if not known]
        submit = self._pipeline.submit
        starts = await asyncio.gather(*(submit(self._start_of(beat), refusable=False) for beat in unknown))
        refused = [beat for beat, start in zip(unknown, starts, strict=True) if start is not True]
        # Somebody else may have recorded the start meanwhile, without a name: then the attempt is this worker's.
        again = await self._outbox.renew(refused, self._clock.now()) if refused else []
        return [beat for beat, known in zip(refused, again, strict=True) if not known]

    def _start_of(self, beat: Beat) -> Direct:
        now = self._clock.now()
        start = StartAttempt(beat.step, beat.attempt, beat.worker, beat.started_at or now)
        return Direct(beat.run_id, start, details=beat.details, lease_until=now + beat.lease)
