"""Members of this worker's groups whose process has died on this machine.

A group that gets a new member waits for all that it knows, for a dead one as long as its session lasts, and nobody
reads jobs meanwhile. A worker that is started in place of one that was killed would stop all others of its groups like
that. So it joins once the session is over: until then the others go on.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from typing import Final, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet

LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.5
SPARE_S: Final = 2.0

_NAME: Final = re.compile(r"(w-.+)-([0-9]{1,10})-[0-9a-f]{6}")
"""A name that a worker has made itself: host, process, and something of its own."""
_HERE: Final[set[str]] = set()
"""Workers of this process."""


def note_here(worker_id: str) -> None:
    """Note that a worker of this process is alive."""
    _HERE.add(worker_id)


def note_gone(worker_id: str) -> None:
    """Note that it is not any more."""
    _HERE.discard(worker_id)


def has_died(client_id: str, worker_id: str) -> bool:
    """Tell whether a member of a group is certain to be dead, or is `worker_id` in an earlier life."""
    if client_id in _HERE and client_id != worker_id:
        return False
    if client_id == worker_id:
        return True
    theirs, ours = _NAME.fullmatch(client_id), _NAME.fullmatch(worker_id)
    if theirs is None or ours is None or theirs[1] != ours[1]:
        return False
    # Of the same number on the same machine: a container has the same one in each of its lives.
    return theirs[2] == ours[2] or not _is_alive(int(theirs[2]))


class Predecessors:
    """Looks for them, on threads that may wait."""

    def __init__(self, config: KafkaConfig, worker_id: str, actions: Sequence[str], logger: logging.Logger) -> None:
        self._worker_id = worker_id
        self._groups = [config.group_of(action) for action in actions]
        self._client = AdminClient(config.producer(worker_id, Quiet(logger)))
        self._logger = logger
        self.patience = config.session_s + SPARE_S
        """How many seconds they can be in the way."""

    def find(self) -> set[str]:
        """Return their names; an empty set also where the brokers do not say. Takes about a second at most."""
        found: set[str] = set()
        behind: list[str] = []
        for group in self._groups:
            try:
                dead = self._dead_of(group)
            except KafkaException as error:
                self._logger.debug("who is in the group %s is not known: %s", group, error)
                return found
            if dead:
                behind.append(group)
                found |= dead
        self._groups = behind
        return found

    def _dead_of(self, group: str) -> set[str]:
        with warnings.catch_warnings():
            # Its successor ends the process when a coordinator goes away while it is asked (librdkafka 2.16).
            warnings.simplefilter("ignore", DeprecationWarning)
            described = self._client.list_groups(group=group, timeout=LOOK_S)
        names = {cast("str", member.client_id) for one in described for member in one.members}
        return {name for name in names if has_died(name, self._worker_id)}


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
