"""A lightweight workflow orchestrator that keeps state apart from execution."""

from importlib.metadata import version

__version__ = version("workflow-orchestrator")
