"""Shell completion of ids that only the orchestrator knows; it is quick, or silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

SECONDS: Final = 0.2
MOST: Final = 50


def complete_workflow(incomplete: str) -> list[tuple[str, str]]:
    """Offer workflow ids."""
    return [(w["id"], f"{len(w['steps'])} steps") for w in _entries("/workflow/") if w["id"].startswith(incomplete)]


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Offer the latest runs."""
    runs = _entries("/workflow/runs", {"view": "summary"})
    return [(r["runId"], f"{r['workflowId']} {r['status']}") for r in runs if r["runId"].startswith(incomplete)]


def complete_worker(incomplete: str) -> list[tuple[str, str]]:
    """Offer worker ids."""
    return [(w["workerId"], w["status"]) for w in _entries("/workers") if w["workerId"].startswith(incomplete)]


def complete_dead_letter(incomplete: str) -> list[tuple[str, str]]:
    """Offer the latest dead letters."""
    letters = _entries("/dead-letters", {})
    return [(d["id"], f"{d['workflowId']} {d['action']}") for d in letters if d["id"].startswith(incomplete)]


def _entries(path: str, query: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    from orchestrator.cli.address import DEFAULT_URL, URL_VARIABLE

    try:
        import msgspec

        from orchestrator.cli.rest import Orchestrator

        server = Orchestrator(os.environ.get(URL_VARIABLE) or DEFAULT_URL, seconds=SECONDS)
        for entry in server.all(path) if query is None else server.entries(path, query, MOST):
            yield msgspec.json.decode(entry)
    except Exception:  # noqa: BLE001 - a key press must never print an error
        return
