"""The workers of this checkout that the kit is played on, and what they speak."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[3]
SDKS: Final = CHECKOUT / "sdks"

WORKERS: Final = {
    "python": [sys.executable, str(SDKS / "python/conformance/worker.py")],
    "node": [shutil.which("node") or "node", str(SDKS / "node/dist/conformance/worker.js")],
}
TRANSPORTS: Final = {"python": ("http", "kafka"), "node": ("http", "kafka")}
