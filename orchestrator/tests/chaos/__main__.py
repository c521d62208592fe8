"""``python -m tests.chaos``: plays the crash table and prints it. See ``--help``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import NoReturn

from tests.chaos.installation import OPEN
from tests.chaos.scenarios import Scenario, scenarios, walks
from tests.chaos.stage import Stage

HEAD = """\
| scenario | faults | runs | attempts | done again | violations | seconds |
|---|---|---|---|---|---|---|"""


@dataclass
class Row:
    """What came of a scenario."""

    scenario: Scenario
    faults: str
    runs: int
    attempts: int
    done_again: int
    violations: list[str]
    seconds: float
    phases: str = ""
    """How long each phase took; what is left of it is the start and the check."""

    def __str__(self) -> str:
        found = f"**{len(self.violations)}**" if self.violations else "0"
        return (
            f"| {self.scenario.title} | {self.faults} | {self.runs:,} | {self.attempts:,} | {self.done_again:,} "
            f"| {found} | {self.seconds:.0f} |"
        )


def perform(scenario: Scenario, folder: Path, seed: int) -> Row:
    """Play one scenario on an installation of its own."""
    begun = monotonic()
    stage = Stage(folder, seed, scenario.setup)
    with stage.open():
        verdict = stage.play(scenario.fault, scenario.per_second, scenario.runs or 10_000_000, scenario.mix)
    noted = [f"{count} {what}" for what, count in sorted(stage.faults.items())]
    faults = "; ".join([", ".join(noted) or "none", *stage.remarks])
    return Row(
        scenario,
        faults,
        verdict.runs,
        verdict.attempts,
        verdict.done_again,
        verdict.violations,
        monotonic() - begun,
        ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in stage.seconds.items()),
    )


def main() -> int:
    """Play what was asked for; 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description="Play the crash table.")
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument(
        "--failpoint", default="", metavar="GLOB", help="of all failpoints only such, with every action: 'roster.*'"
    )
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios played at a time, each on parts of its own")
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the largest scenario")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn: which process, when")
    parser.add_argument("--keep", action="store_true", help="keep all logs and data, also where nothing was violated")
    chosen = parser.parse_args()
    table = walks(chosen.failpoint) if chosen.failpoint else scenarios(chosen.runs)
    if not table:
        parser.error(f"there is no failpoint {chosen.failpoint}; docs/failpoints.md says which there are")
    if chosen.list:
        print("\n".join(f"{one.name:16} {one.title}" for one in table))
        return 0
    wanted = [name for name in chosen.only.split(",") if name]
    if unknown := set(wanted) - {one.name for one in table}:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; --list says which there are")
    table = [one for one in table if not wanted or one.name in wanted]
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    with ThreadPoolExecutor(chosen.jobs) as pool:
        rows = list(pool.map(lambda one: _tell(one, folder / one.name, chosen.seed, keep=chosen.keep), table))
    print("\n" + "\n".join([HEAD, *map(str, rows)]))
    is_kept = any(row.violations for row in rows)
    if is_kept or chosen.keep:
        print(f"\nThe logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if is_kept else 0


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Take everything down that was started, whatever the threads are at."""
    for installation in list(OPEN):
        installation.kill()
    os._exit(128 + number)


def _tell(scenario: Scenario, folder: Path, seed: int, *, keep: bool) -> Row:
    print(f"playing {scenario.name}: {scenario.title} ...", flush=True)
    try:
        row = perform(scenario, folder, seed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other scenarios are played
        row = Row(scenario, "", 0, 0, 0, [f"it could not be played: {error!r}"], 0)
    print("\n".join([str(row), *(f"    {one}" for one in [row.phases, *row.violations])]), flush=True)
    if not row.violations and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
