"""Where client commands look for the orchestrator."""

from __future__ import annotations

from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:8080"
URL_VARIABLE: Final = "ORCHESTRATOR_URL"
