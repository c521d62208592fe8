"""The demo's workflow and the input of its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from orchestrator.demo.files import enclosing_checkout

WORKFLOW_ID: Final = "demo-archive"

ACTIONS: Final = ("list", "hash", "compress", "verify", "report")

DEFINITION: Final[dict[str, Any]] = {
    "id": WORKFLOW_ID,
    "description": "Archives a folder: list the files, hash them, compress them, verify the archive, write a report",
    "retry": {"maxRetries": 3, "delay": "500ms"},
    "stepTimeout": "10m",
    "heartbeatTimeout": "3s",
    "steps": [{"action": f"demo.{action}", "stepIndex": index} for index, action in enumerate(ACTIONS)],
}

OUTPUT_FOLDER: Final = "demo-output"
"""Under the current folder; each run has a folder of its own in it."""

PACE_SECONDS: Final = 0.8
"""How long a step takes at least when a person looks on."""
SLOW_PACE_SECONDS: Final = 6.0
"""The same for a run that is meant to be interrupted."""

DEFAULT_FILES_MAX: Final = 2_000
DEFAULT_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the demo takes at most from a folder that nobody chose."""
CHOSEN_FILES_MAX: Final = 50_000
CHOSEN_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
"""The same for a folder given with ``--input``."""


def run_input(chosen: Path | None, current: Path, pace: float, excluded: list[Path]) -> dict[str, Any]:
    """Make the input of a run: the chosen folder, else the checkout around the current folder, else that folder."""
    folder = chosen if chosen is not None else enclosing_checkout(current) or current
    output = current / OUTPUT_FOLDER
    return {
        "folder": str(folder.resolve()),
        "output": str(output.resolve()),
        "pace": pace,
        "filesMax": DEFAULT_FILES_MAX if chosen is None else CHOSEN_FILES_MAX,
        "bytesMax": DEFAULT_BYTES_MAX if chosen is None else CHOSEN_BYTES_MAX,
        "excluded": [str(path.resolve()) for path in (output, *excluded)],
    }
