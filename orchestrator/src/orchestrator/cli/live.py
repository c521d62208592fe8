"""The live tree on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli import output
from orchestrator.cli.tree import render

REFRESHES_PER_SECOND: Final = 10


class LiveTree:
    """Draws a run again and again while somebody else reads it."""

    def __init__(self, last_read: Callable[[], dict[str, Any]]) -> None:
        self._last_read = last_read
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

    def _draw(self) -> RenderableType:
        run = self._last_read()
        return render(run, self._console.height) if run else Text("")
