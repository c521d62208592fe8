"""The name and version that this package gives of itself."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
SDK: Final = "workersdk-python"
USER_AGENT: Final = f"{SDK}/{__version__}"
