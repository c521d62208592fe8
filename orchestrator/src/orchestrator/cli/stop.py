"""``orchestrator stop``: end what runs on a data folder."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator.cli import output
from orchestrator.cli.options import DEFAULT_DATA
from orchestrator.cli.record import read_record

SECONDS_MAX: Final = 20.0
LOOK_SECONDS: Final = 0.05


def stop(
    data: Annotated[Path, typer.Option(envvar="ORCHESTRATOR_DATA", help="The data folder.")] = DEFAULT_DATA,
) -> None:
    """Stop the server or the demo of a data folder, and wait until it is gone."""
    record = read_record(data)
    if record is None:
        output.say(f"nothing runs on {data}")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    until = time.monotonic() + SECONDS_MAX
    while read_record(data) == record:
        if time.monotonic() > until:
            from orchestrator.cli.failure import Failure

            raise Failure(
                f"the {record.command} (process {record.pid}) has not stopped after {SECONDS_MAX:g} s",
                mend=f"`kill -9 {record.pid}` is safe: what was answered is on disk",
            )
        time.sleep(LOOK_SECONDS)
    output.say(f"stopped the {record.command} (process {record.pid}) at {record.url}")
