"""What a process does for the whole: its roles, which a person chooses, and duties, which processes take in turn."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """A share of the work. Any number of processes may have each; every installation needs all three."""

    API = "api"
    """Serves REST, pages and workers over HTTP."""
    ENGINE = "engine"
    """Takes results and heartbeats from the broker, and decides what follows."""
    TIMERS = "timers"
    """Stands in line for the duties."""


class Duty(StrEnum):
    """Work that comes with time and that one process does for all. Done twice it would be harmless, but not free."""

    TIMERS = "timers"
    """Start retries, and end runs that have outlived their timeout."""
    LEASES = "leases"
    """Give leases to jobs that some worker took in silence, and end those that have run out."""
    RESENDING = "resending"
    """Hand jobs and dead letters over again that the broker is not known to have."""
    CLEANING = "cleaning"
    """Forget keys, and remove runs that were kept long enough."""


ALL_ROLES: Final = frozenset(Role)
