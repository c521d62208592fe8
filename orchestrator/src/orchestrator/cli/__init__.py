"""The command line: each command reads its options, asks the orchestrator, and prints.

A command imports what it needs when it runs: a client command never loads the server, and the version comes at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process."""
    if sys.argv[1:] == ["--version"]:
        from orchestrator import __version__

        print(f"orchestrator {__version__}")
        return
    from orchestrator.cli.app import run

    sys.exit(run(sys.argv[1:]))
