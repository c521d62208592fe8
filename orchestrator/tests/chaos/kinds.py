"""What the load is made of: workflows, kinds of runs, and how each of them has to end."""

from __future__ import annotations

from typing import Any, Final, Literal

Kind = Literal["plain", "busy", "slow", "flaky", "doomed", "redeemed", "cancelled", "poison"]

MIX: Final[tuple[Kind, ...]] = (
    *("plain",) * 12,
    *("slow",) * 2,
    *("flaky",) * 3,
    *("doomed",) * 1,
    *("redeemed",) * 1,
    *("cancelled",) * 1,
)
"""By turns: of twenty runs, so many of each kind."""

FOREIGN: Final = "foreign"
"""The action of the workers that know three fields only."""
POISON: Final = "poison"
"""The action that kills its process."""
SLOW_SECONDS: Final = 1.5
"""Long enough that the job is noted as sent, gets a lease, and is named in heartbeats."""
BUSY_SECONDS: Final = 0.5
"""Long enough that a worker has several jobs in hand at any time."""
ENDLESS_SECONDS: Final = 600.0
SESSION_SECONDS: Final = 6
"""How long a worker over Kafka that has died keeps its partitions: the least that a broker takes."""

_PATIENT: Final = {"maxRetries": 60, "delay": 0.2}
"""So many, so that no number of faults makes a dead letter of a run that is not meant to fail."""

WORKFLOWS: Final[dict[Kind, dict[str, Any]]] = {
    "plain": {
        "id": "chain",
        "steps": [
            {"action": "prepare", "retry": _PATIENT},
            # What such a worker took and dropped comes back by this timeout, and by nothing else.
            {"action": FOREIGN, "timeout": 6, "retry": _PATIENT},
            {"action": "finish", "retry": _PATIENT},
        ],
    },
    "doomed": {
        "id": "doomed",
        "steps": [{"action": "prepare", "retry": _PATIENT}, {"action": "fail", "retry": {"maxRetries": 1, "delay": 0}}],
    },
    "redeemed": {"id": "redeemed", "steps": [{"action": "prove", "retry": {"maxRetries": 0}}]},
    "cancelled": {"id": "endless", "steps": [{"action": "wait", "retry": _PATIENT}]},
    "poison": {"id": "poison", "steps": [{"action": POISON, "retry": {"maxRetries": 3, "delay": 0}}]},
}
ACTIONS: Final = ("prepare", "finish", "fail", "prove", "wait", POISON)
"""What workers with the SDK do."""


def workflow_of(kind: Kind) -> str:
    """Give the id of the workflow whose runs these are."""
    return str(WORKFLOWS.get(kind, WORKFLOWS["plain"])["id"])


def input_of(number: int, kind: Kind) -> dict[str, Any]:
    """Give the input of a run; its number is in it, so that a run can be told from every other."""
    return {"number": number, "kind": kind, "done": []}


def after(payload: dict[str, Any], action: str) -> dict[str, Any]:
    """Give what an action makes of a payload, whoever does it."""
    return {**payload, "done": [*payload["done"], action]}


def outputs_of(number: int, kind: Kind) -> list[dict[str, Any]]:
    """Give the results of all steps, in order, of a run that completes."""
    results: list[dict[str, Any]] = []
    payload = input_of(number, kind)
    for step in WORKFLOWS.get(kind, WORKFLOWS["plain"])["steps"]:
        payload = after(payload, step["action"])
        results.append(payload)
    return results


STATUS: Final[dict[Kind, str]] = {
    "plain": "COMPLETED",
    "slow": "COMPLETED",
    "busy": "COMPLETED",
    "flaky": "COMPLETED",
    "doomed": "FAILED",
    "redeemed": "COMPLETED",
    "cancelled": "CANCELLED",
    "poison": "FAILED",
}
"""How a run has to end."""
