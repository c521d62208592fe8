"""The reference pages say what the code does."""

from __future__ import annotations

import msgspec

from orchestrator.model.limits import Limits
from tests.architecture import failpoints_page, limits_page


def test_the_page_of_limits_is_fresh() -> None:
    assert limits_page.PAGE.read_text("utf-8") == limits_page.render(), "docs/limits.md is stale: run `make docs`"


def test_every_limit_is_on_the_page_with_its_default() -> None:
    page = limits_page.render()
    for field in msgspec.structs.fields(Limits):
        row = next((line for line in page.splitlines() if line.startswith(f"| `{field.name}` |")), "")
        assert row, f"{field.name} is not on the page"
        assert f"`ORCHESTRATOR_{field.name.upper()}`" in row
        assert float(row.split("`")[3]) == field.default


def test_the_page_of_failpoints_is_fresh() -> None:
    page = failpoints_page.PAGE.read_text("utf-8")
    assert page == failpoints_page.render(), "docs/failpoints.md is stale: run `make docs`"
