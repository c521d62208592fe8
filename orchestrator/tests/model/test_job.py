"""Names of jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.definition import STEP_INDEX_MAX
from orchestrator.model.job import job_id, parse_job_id
from orchestrator.model.run import RunId

RUN = RunId("0192f0c1-7a3e-7cc0-8a51-4b1d3f0e9a77")


def test_a_job_is_named_by_its_run_and_its_step() -> None:
    assert job_id(RUN, 12) == f"{RUN}:12"


@given(st.text().map(RunId), st.integers(0, STEP_INDEX_MAX))
def test_a_job_s_name_reads_back(run: RunId, step: int) -> None:
    assert parse_job_id(job_id(run, step)) == (run, step)


@pytest.mark.parametrize(
    "text",
    ["", ":", "0192", "0192:", "0192:-1", "0192:+1", "0192: 1", "0192:1.5", "0192:٣", "0192:²", "0192:" + "9" * 11],
)
def test_what_is_no_job_s_name_is_told_apart(text: str) -> None:
    assert parse_job_id(text) is None


@given(st.text())
def test_any_text_is_a_job_s_name_or_none(text: str) -> None:
    found = parse_job_id(text)
    assert found is None or found[1] >= 0
