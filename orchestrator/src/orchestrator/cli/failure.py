"""How a command ends when it cannot do what was asked: what, why, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import IntEnum

from orchestrator.model.errors import FieldError


class ExitCode(IntEnum):
    """What a script can tell from a command's exit code."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    RUN_FAILED = 4
    """The run ended, but not by completing: it failed, was cancelled, or timed out."""
    TIMED_OUT = 5
    """The time to wait was over before the run had ended."""
    PROBLEMS = 7
    """The doctor found something."""


class Failure(Exception):
    """Ends a command. Printed to people as it is, without a traceback."""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        mend: str = "",
        code: ExitCode = ExitCode.ERROR,
        fields: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.mend = mend
        self.code = code
        self.fields = tuple(fields)


class NoAnswer(Failure):
    """Nothing at the address speaks to us."""

    def __init__(self, url: str, why: str) -> None:
        mend = "start one with `orchestrator server`, or pass --url"
        super().__init__(f"no orchestrator answers at {url}", why=why, mend=mend)
        self.url = url


def show(failure: Failure) -> None:
    """Print a failure to standard error."""
    lines = [f"error: {failure.what}"]
    if failure.why:
        lines.append(f"  why: {failure.why}")
    for field in failure.fields:
        mend = f" ({field.mend})" if field.mend else ""
        lines.append(f"  {field.field or 'body'}: {field.reason}{mend}")
    if failure.mend:
        lines.append(f"  next: {failure.mend}")
    print("\n".join(lines), file=sys.stderr)
