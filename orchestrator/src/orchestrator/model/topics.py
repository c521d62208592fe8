"""The topics that workers and orchestrators meet on."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import astuple


class Topics(msgspec.Struct, frozen=True):
    """The names of the topics."""

    jobs: str = "workflow-jobs"
    results: str = "workflow-results"
    heartbeats: str = "workflow-heartbeats"
    control: str = "workflow-control"
    dead_letters: str = "workflow-jobs.DLT"

    def prefixed(self, prefix: str) -> Topics:
        """Give the names with something before them."""
        return Topics(*(prefix + name for name in astuple(self)))


TOPICS: Final = Topics()
"""The names of the contract."""
