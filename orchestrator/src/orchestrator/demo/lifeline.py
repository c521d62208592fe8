"""A child process that ends with its parent, however that ends: its standard input is a pipe that the parent holds."""

from __future__ import annotations

import os
import signal
import sys
import threading


def stop_with_parent() -> None:
    """End this process in its usual way (SIGTERM) as soon as its standard input is closed."""
    threading.Thread(target=_wait_for_end, name="lifeline", daemon=True).start()


def _wait_for_end() -> None:
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
