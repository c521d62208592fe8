"""What a check of the doctor gives."""

from __future__ import annotations

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One finding."""

    name: str
    state: Literal["OK", "WARN", "FAIL"]
    found: str
    fix: str = ""
