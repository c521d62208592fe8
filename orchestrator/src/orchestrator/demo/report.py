"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

ROWS_MAX: Final = 2_000
"""Files in the table; all of them are in the manifest beside the report."""

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6475; --line: #e2e6ee; --back: #f6f7fa; --card: #fff;
  --accent: #2b6cb0; --good: #1f7a4d; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #9aa4b5; --line: #2b3240; --back: #12161d;
  --card: #1a202a; --accent: #6ea8e6; --good: #5cc08f; --warn: #e0b050; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { margin: 0; font-size: 1.6rem } h2 { margin: 2.2rem 0 .6rem; font-size: 1.1rem }
p { margin: .3rem 0 } .soft { color: var(--soft) } .good { color: var(--good); font-weight: 600 }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin-top: 1.4rem }
.card, .note { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem }
.card b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums }
.note { border-left: .3rem solid var(--warn) }
.bar { height: .55rem; border-radius: .3rem; background: var(--accent); min-width: 2px }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line) }
th, td { padding: .3rem .7rem; text-align: left; border-top: 1px solid var(--line); vertical-align: middle }
th { font-weight: 600; color: var(--soft); border-top: 0 }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td:first-child { overflow-wrap: anywhere } .share { width: 18% }
.note { margin-top: .8rem } .hash { white-space: nowrap } .scroll { overflow-x: auto }
"""


def size(count: float) -> str:
    """Write a number of bytes as a person says it."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def render_report(
    run_id: str, totals: dict[str, Any], files: list[dict[str, Any]], demonstration: dict[str, Any] | None
) -> str:
    """Write the page.

    Args:
        run_id: the run that it reports on.
        totals: what the steps handed on.
        files: name, size and SHA-256 of each file in the archive.
        demonstration: what the first attempt to verify left behind, if it failed on purpose.
    """
    folder = escape(totals["folder"])
    title = f"Archive of {escape(Path(totals['folder']).name or totals['folder'])}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="soft"><code>{folder}</code></p>
<p class="soft">Run <code>{escape(run_id)}</code></p>
<p class="good">Every file was read back from the archive and is the one that went in.</p>
{_cards(totals)}
<h2>What happened</h2>
{_timings(totals["seconds"])}
{_retry(totals, demonstration)}
<h2>The archive</h2>
<p><code>{escape(totals["archive"])}</code></p>
<p class="soft">SHA-256 <code>{escape(totals["archiveSha256"])}</code>, the same each time for the same files</p>
<h2>The files</h2>
{_files(files, totals)}
</main>
</body>
</html>
"""


def _cards(totals: dict[str, Any]) -> str:
    ratio = totals["archiveBytes"] / max(totals["bytes"], 1)
    cards = (
        (f"{totals['files']:,}", "files"),
        (size(totals["bytes"]), "read"),
        (size(totals["archiveBytes"]), "in the archive"),
        (f"{ratio:.0%}", "of the size"),
        (f"{sum(totals['seconds'].values()):.2f} s", "in the steps"),
    )
    inner = "".join(f'<div class="card"><b>{value}</b><span class="soft">{name}</span></div>' for value, name in cards)
    return f'<div class="cards">{inner}</div>'


def _timings(seconds: dict[str, float]) -> str:
    longest = max(seconds.values(), default=0.0) or 1.0
    rows = "".join(
        f'<tr><td>{escape(step)}</td><td class="number">{taken:.2f} s</td>'
        f'<td style="width:60%"><div class="bar" style="width:{taken / longest:.0%}"></div></td></tr>'
        for step, taken in seconds.items()
    )
    return f'<table><tr><th>step</th><th class="number">time</th><th></th></tr>{rows}</table>'


def _retry(totals: dict[str, Any], demonstration: dict[str, Any] | None) -> str:
    if demonstration is None:
        return ""
    return (
        f'<p class="note">The first attempt to verify failed with <code>{escape(demonstration["error"])}</code>, on '
        f"purpose. The orchestrator waited and tried again; attempt {totals['verifyAttempts']} went through. "
        "Nothing had to be written for that: a retry is the default.</p>"
    )


def _files(files: list[dict[str, Any]], totals: dict[str, Any]) -> str:
    largest = max((file["size"] for file in files), default=0) or 1
    rows = "".join(
        f'<tr><td><code>{escape(file["name"])}</code></td><td class="number">{size(file["size"])}</td>'
        f'<td class="share"><div class="bar" style="width:{file["size"] / largest:.1%}"></div></td>'
        f'<td class="hash"><code title="{file["sha256"]}">{file["sha256"][:16]}…</code></td></tr>'
        for file in files[:ROWS_MAX]
    )
    more = len(files) - ROWS_MAX
    notes = [f"{more:,} more are in hashes.json beside this page."] if more > 0 else []
    if totals["leftOut"]:
        notes.append(f"{totals['leftOut']:,} files were left out: too many, too large, changed or gone meanwhile.")
    foot = "".join(f'<p class="soft">{note}</p>' for note in notes)
    head = '<tr><th>file</th><th class="number">size</th><th></th><th>SHA-256</th></tr>'
    return f'<div class="scroll"><table>{head}{rows}</table></div>{foot}'
