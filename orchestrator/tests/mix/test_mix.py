"""A small mix, and that the count notices what it is there to notice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.mix.__main__ import rounds
from tests.mix.play import Round, mix
from tests.real import Real


def test_examples_and_plain_clients_share_a_cluster_and_nothing_is_executed_twice(
    real: Real, fresh_database: Callable[..., str], fresh_topics: Callable[[], str], tmp_path: Path
) -> None:
    with mix(tmp_path, real.kafka(), fresh_database(), fresh_topics()) as at:
        alone, beside = asyncio.run(rounds(at, 300))
        assert at.executed_by_node() == (alone.answers + beside.answers)["node"]
    for played in (alone, beside):
        assert played.is_clean, played
    assert set(alone.outputs) <= {"python", "node", "java"}
    plain = {f"plain {language}": 100 for language in ("python", "node", "java")}
    assert plain.items() <= beside.outputs.items()


def test_a_round_with_a_second_execution_a_rejection_or_a_missing_run_is_not_clean() -> None:
    one = Counter({"python": 3})
    assert Round("all", 3, outputs=one, answers=one).is_clean
    assert not Round("all", 3, outputs=one, answers=Counter({"python": 4}), twice=1).is_clean
    assert not Round("all", 3, outputs=one, answers=one, rejected=1).is_clean
    assert not Round("all", 4, outputs=one, answers=one).is_clean
