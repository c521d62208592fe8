"""The checker is worth something: it notices each of many ways to break the orchestrator."""

from __future__ import annotations

import pytest

from tests.simulation import campaign
from tests.simulation.mutants import MUTANTS, Break
from tests.simulation.simulation import simulate

SEEDS_MAX = 40


@pytest.mark.skipif(campaign.SEED is not None, reason="one seed is replayed")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_checker_notices_that(mutant: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    seeds = dict.fromkeys([*campaign.regressions(), *range(SEEDS_MAX)])
    assert any(simulate(seed).violations for seed in seeds), mutant.__doc__
