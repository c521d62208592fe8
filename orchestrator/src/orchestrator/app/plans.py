"""Compiled plans, kept in memory: a version never changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from orchestrator.engine import run as engine
from orchestrator.engine.plan import Plan, compile_plan
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import InvariantBroken
from orchestrator.model.event import Event
from orchestrator.model.run import RunId, RunState
from orchestrator.ports.store import Store

PLANS_KEPT_MAX: Final = 10_000
"""Compiled versions in memory; the one unused for longest goes first and is compiled again when needed."""

ACTIONS_KEPT_MAX: Final = 10_000
"""Names of their actions in memory."""


class Plans:
    """Plans by workflow and version."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[str, int], tuple[str, Plan]] = OrderedDict()
        """With the digest of the definition: a version that was rolled back is followed by another of its number."""
        self._actions: dict[str, None] = {}
        """Of these plans, in the order in which they were compiled."""

    def of(self, version: DefinitionVersion) -> Plan:
        """Give the plan of a definition."""
        key = (version.definition.id, version.version)
        known = self._plans.get(key)
        if known is not None and known[0] == version.digest:
            return known[1]
        plan = compile_plan(version.definition, version.version)
        self._plans[key] = version.digest, plan
        if len(self._plans) > PLANS_KEPT_MAX:
            self._plans.popitem(last=False)
        for step in plan.steps.values():
            self._actions.pop(step.definition.action, None)
            self._actions[step.definition.action] = None
        while len(self._actions) > ACTIONS_KEPT_MAX:
            del self._actions[next(iter(self._actions))]
        return plan

    def actions(self, most: int) -> list[str]:
        """List actions of workflows that this process has had to do with, those of the latest first."""
        return list(islice(reversed(self._actions), most))

    def get(self, workflow_id: str, version: int) -> Plan | None:
        """Give the plan that a run follows, if it is in memory."""
        known = self._plans.get((workflow_id, version))
        return None if known is None else known[1]

    async def find(self, store: Store, workflow_id: str, version: int) -> Plan:
        """Give the plan that a run follows."""
        if (known := self.get(workflow_id, version)) is not None:
            return known
        found = await store.definition(workflow_id, version)
        if found is None:
            raise InvariantBroken(f"a run follows {workflow_id} version {version}, which is not in the store")
        return self.of(found)

    def fold(self, run_id: RunId, version: DefinitionVersion, events: Iterable[Event]) -> RunState:
        """Make a run's state of its history; for stores that keep only the history."""
        return engine.fold(run_id, self.of(version), events)
