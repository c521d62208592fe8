"""A lightweight workflow orchestrator that keeps state apart from execution."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Give ``__version__``, looked up only when asked for: every process pays for what is imported here."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - costs 30 ms

        return version("workflow-orchestrator")
    raise AttributeError(name)
