"""Plays scenarios on workers, and keeps what came of them."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from orchestrator.cli.conformance.scenarios import SCENARIOS
from orchestrator.cli.conformance.site import Failed, Transport, site
from orchestrator.cli.conformance.stage import Play, Skipped
from orchestrator.cli.failure import Failure

Outcome = Literal["passed", "failed", "not played"]


class Column(NamedTuple):
    """A worker over a transport."""

    worker: str
    transport: Transport

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.worker}/{self.transport}"


class Cell(NamedTuple):
    """What came of one scenario."""

    outcome: Outcome
    reason: str
    seconds: float


Matrix = dict[str, dict[Column, Cell]]
"""By scenario."""


def chosen(globs: Sequence[str]) -> list[str]:
    """Give the scenarios that any of the patterns means; all of them without one.

    Raises:
        Failure: a pattern means none.
    """
    for glob in globs:
        if not fnmatch.filter(SCENARIOS, glob):
            raise Failure(f"no scenario is called {glob!r}", mend=f"there are: {', '.join(SCENARIOS)}")
    return [name for name in SCENARIOS if not globs or any(fnmatch.fnmatch(name, glob) for glob in globs)]


def play_all(
    workers: Mapping[str, Sequence[str]],
    transports: Sequence[Transport],
    names: Sequence[str],
    folder: Path,
    *,
    database: str,
    kafka: str,
    restart_broker: Callable[[], None] | None,
    tell: Callable[[Column, str, Cell], None],
) -> Matrix:
    """Play each scenario on each worker over each transport; `tell` hears of each as it is over."""
    matrix: Matrix = {name: {} for name in names}
    for transport in transports:
        for worker, command in workers.items():
            column = Column(worker, transport)
            place = folder / f"{worker}-{transport}"
            place.mkdir(parents=True)
            with site(transport, place, database, kafka) as where:
                play = Play(where, command, workers, restart_broker)
                for name in names:
                    cell = matrix[name][column] = _play(play, name)
                    tell(column, name, cell)
    return matrix


def _play(play: Play, name: str) -> Cell:
    began = time.monotonic()
    try:
        with play.site.scenario(name):
            SCENARIOS[name](play)
    except Skipped:
        return Cell("not played", "", 0.0)
    except (Failed, Failure) as error:
        return Cell("failed", str(error), time.monotonic() - began)
    return Cell("passed", "", time.monotonic() - began)
