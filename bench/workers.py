"""The workers of the benchmarks: the same no-op handlers on each SDK."""

from __future__ import annotations

import sys
from pathlib import Path

from stack.examples import java, node, sdk_for_java

HERE = Path(__file__).parent


def command(language: str, url: str, actions: int) -> list[str]:
    """Give the command of a worker that serves ``noop-0`` to ``noop-<actions - 1>`` at a URL."""
    return [*_program(language), url, str(actions)]


def _program(language: str) -> list[str]:
    if language == "node":
        return [node(), str(HERE / "worker.mjs")]
    if language == "java":
        # Compiled when it starts, which is over before anything is measured.
        return [java(), "-cp", sdk_for_java(), str(HERE / "NoopWorker.java")]
    return [sys.executable, str(HERE / "worker.py")]
