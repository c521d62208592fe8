"""The code in the README is code, and what it names is there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import workersdk
import workersdk.testing

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(place) for place in range(len(BLOCKS))])
def test_a_block_compiles_and_imports_what_there_is(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workersdk"):
            module = workersdk if node.module == "workersdk" else workersdk.testing
            assert {name.name for name in node.names} <= set(module.__all__)


def test_every_file_is_in_the_table() -> None:
    package = Path(workersdk.__file__).parent
    names = {path.name for path in package.glob("*.py")} - {"__init__.py", "version.py"}
    assert {name for name in names if f"`{name}`" not in README} == set()


def test_every_setting_is_in_the_table_with_its_default() -> None:
    settings = inspect.signature(workersdk.Worker.__init__).parameters
    assert {name for name in settings if name != "self" and f"| `{name}` |" not in README} == set()
    assert f"| `concurrency` | {settings['concurrency'].default} |" in README
    assert f"| `drain_timeout` | {settings['drain_timeout'].default:g} s |" in README


def test_every_call_of_the_client_is_named() -> None:
    calls = {name for name in vars(workersdk.Client) if not name.startswith("_") and name != "close"}
    asynchronous = {name for name in vars(workersdk.AsyncClient) if not name.startswith("_") and name != "close"}
    assert {name for name in calls if f"`{name}`" not in README and f"client.{name}(" not in README} == set()
    assert asynchronous - calls == {"run_pages"}
