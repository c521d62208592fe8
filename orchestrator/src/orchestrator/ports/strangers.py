"""Readers of jobs that give no signs of life: all that can be said of them is that they are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Stranger(msgspec.Struct, frozen=True):
    """A group of readers that has members now. Which actions they have handlers for, nobody but they knows."""

    group: str
    topic: str
    """What they read; as in `ports.broker.Sent`."""
    action: str = ""
    """The one action whose jobs the group is for; empty: any."""


class Strangers(Protocol):
    """Who else takes jobs from the broker."""

    async def strangers(self) -> Sequence[Stranger]:
        """Find the groups with members that read a topic of jobs, the readers of the orchestrator left out.

        Those of workers that give signs of life are among them; a group that reads two topics is named for each.

        Raises:
            Unavailable: the broker does not say.
        """
        ...

    def topic_of(self, action: str) -> str:
        """Give the topic that the jobs of an action are on; as in `ports.broker.Sent`."""
        ...
