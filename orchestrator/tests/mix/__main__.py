"""``make mix``: the contract's three examples as they stand on one cluster, then plain Kafka clients beside them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from stack.examples import PLAIN
from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres
from tests.mix.play import Mix, Round, mix

RUNS = 12_000


async def rounds(at: Mix, runs: int) -> list[Round]:
    """Play both rounds with so many runs each, the second with as many again for the plain clients together."""
    at.start("hello")
    alone = await at.play("the three examples", {"hello": runs})
    at.start(PLAIN)
    workflows = {"hello": runs, **{f"{PLAIN}-{language}": runs // 3 for language in ("python", "node", "java")}}
    return [alone, await at.play("the same, and three plain clients", workflows)]


def show(played: Round) -> None:
    """Print the rows of a round."""
    print(f"\n## {played.name}: {played.runs:,} runs of one step in {played.seconds:.1f} s\n")
    print("| worker | executed | runs completed with its result |\n|---|---|---|")
    for worker in sorted(played.outputs | played.answers):
        print(f"| {worker} | {played.answers[worker]:,} | {played.outputs[worker]:,} |")
    print(
        f"| all | {played.answers.total():,} | {played.outputs.total():,} |\n\n"
        f"executed twice: {played.twice}, rejected: {played.rejected}, runs/s: {played.runs / played.seconds:,.0f}"
    )


def main() -> int:
    """Play; give the exit code."""
    parser = argparse.ArgumentParser(prog="make mix", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of the examples, and of the plain clients together")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="mix-") as temporary:
        folder = Path(temporary)
        kafka, postgres = Kafka(folder / "kafka", free_port()), Postgres(folder / "postgres", free_port())
        with kafka.running(), postgres.running(), mix(folder, kafka.url, postgres.url) as at:
            played = asyncio.run(rounds(at, runs))
            said = at.executed_by_node()
    for one in played:
        show(one)
    counted = sum(one.answers["node"] for one in played)
    print(f"\nThe example in Node.js says {said:,} times that it was executed; {counted:,} answers are its.")
    return 0 if said == counted and all(one.is_clean for one in played) else 1


if __name__ == "__main__":
    sys.exit(main())
