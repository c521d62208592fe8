"""Writes ``docs/failpoints.md`` from the table of failpoints: run by ``make docs``, compared by a test."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orchestrator.adapters.failpoints.names import ACTIONS, FAILPOINTS, Failpoint

PAGE: Final = Path(__file__).parents[3] / "docs" / "failpoints.md"

HEAD: Final = """\
# Failpoints

Places where an orchestrator can be told to die, to fail, to wait, or to be left in doubt: each point of the pipeline,
and each call that it and its services make to the database, the broker and Redis. They are how the crash table of
[reliability.md](reliability.md) is executed. Nothing is wrapped and nothing costs anything unless the variable is set;
when it is, the process says so in its log, and says each time what it does.

```bash
ORCHESTRATOR_FAILPOINTS="batch.committed=kill@7,outbox.renew=delay:0.5@3n" orchestrator server ...
```

`name=action@nth`, with commas between them: `@7` the seventh time, `@7n` each seventh time, without it the first time.
A name or an action that is not there is refused at the start.

| action | what happens |
|---|---|
"""

TAIL: Final = """
A point inside the pipeline has nothing to be done, so that it knows no `done-then-...`. Calls that tell their caller
nothing know no `done-then-error`, and taking records knows no failure. A delay in the pipeline, and in a call of
`feed`, `duties` or `hints` that does not wait, holds up the whole process. None of these raises: one that fails gives
nothing, which is no job, no duty, no hint.

| failpoint | what is under way | actions |
|---|---|---|
"""


def render() -> str:
    """Write the whole page."""
    actions = [f"| `{name}` | {meaning} |" for name, meaning in ACTIONS.items()]
    points = [
        f"| `{point.name}` | {point.meaning.replace('``', '`')} | {_actions(point)} |" for point in FAILPOINTS.values()
    ]
    source = "This page is written from the docstrings of `orchestrator/src/orchestrator/ports` by `make docs`."
    return HEAD + "\n".join(actions) + "\n" + TAIL + "\n".join(points) + f"\n\n{source}\n"


def _actions(point: Failpoint) -> str:
    return "all" if point.actions == tuple(ACTIONS) else ", ".join(f"`{name}`" for name in point.actions)


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
