"""The live tree on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli import output
from orchestrator.cli.tree import render

if TYPE_CHECKING:
    from orchestrator.cli.watch import Watched

REFRESHES_PER_SECOND: Final = 10


class LiveTree:
    """Draws a run again and again while somebody else reads it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._console = output.console()
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_PER_SECOND,
            vertical_overflow="visible",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self) -> None:
        """Do nothing: the next refresh draws what was read."""

    def _draw(self) -> RenderableType:
        run = self._watched.run
        return render(run, self._console.height) if run else Text("")
