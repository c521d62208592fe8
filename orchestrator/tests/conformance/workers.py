"""The workers of this checkout that the kit is played on, and what they speak."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[3]
SDKS: Final = CHECKOUT / "sdks"
_JAVA_MAIN: Final = "com.creedpetitt.workersdk.conformance.ConformanceWorker"


def _java() -> list[str]:
    target = SDKS / "java/target"
    file = target / "classpath"
    libraries = file.read_text().strip() if file.exists() else ""
    path = os.pathsep.join([str(target / "test-classes"), str(target / "classes"), libraries])
    # Small and quick to start, as long-lived workers need not be.
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, _JAVA_MAIN]


WORKERS: Final = {
    "python": [sys.executable, str(SDKS / "python/conformance/worker.py")],
    "node": [shutil.which("node") or "node", str(SDKS / "node/dist/conformance/worker.js")],
    "java": _java(),
}
TRANSPORTS: Final = {"python": ("http", "kafka"), "node": ("http", "kafka"), "java": ("http", "kafka")}
