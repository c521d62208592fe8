from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from workersdk import Context, Worker, WorkflowError
from workersdk.handlers import make_handler


class Methods:
    def plain(self, payload: Any) -> Any: ...

    def with_context(self, payload: Any, context: Context) -> Any: ...

    async def later(self, payload: Any, context: Context) -> Any: ...


class CallsSync:
    def __call__(self, payload: Any) -> Any: ...


class CallsAsync:
    async def __call__(self, payload: Any, context: Any) -> Any: ...


def three(first: Any, payload: Any, context: Any) -> Any: ...


async def later_three(first: Any, payload: Any, context: Any) -> Any: ...


def optional(payload: Any, context: Context | None = None) -> Any: ...


def named(payload: Any, ctx: Any = None) -> Any: ...


def annotated(payload: Any, c: Context | None = None) -> Any: ...


def any_arguments(*args: Any, **kwargs: Any) -> Any: ...


@functools.wraps(three)
def wrapped(*args: Any) -> Any: ...


SCALE = 3


@pytest.mark.parametrize(
    ("function", "is_async", "takes_context"),
    [
        (lambda payload: payload, False, False),
        (lambda payload, context: payload, False, True),
        (lambda payload, scale=SCALE: payload * scale, False, False),
        (Methods().plain, False, False),
        (Methods().with_context, False, True),
        (Methods().later, True, True),
        (CallsSync(), False, False),
        (CallsAsync(), True, True),
        (functools.partial(three, 1), False, True),
        (functools.partial(later_three, 1), True, True),
        (functools.partial(three, 1, context=2), False, False),
        (optional, False, True),
        (named, False, True),
        (annotated, False, True),
        (any_arguments, False, False),
        (str, False, False),
        (len, False, False),
        (str.upper, False, False),
        (dict, False, False),
        (print, False, False),
    ],
    ids=(str(n) for n in count()),
)
def test_how_a_handler_is_called_is_decided_once(
    function: Callable[..., Any], is_async: bool, takes_context: bool
) -> None:
    handler = make_handler("act", function)
    assert (handler.is_async, handler.takes_context) == (is_async, takes_context)


def test_a_keyword_only_context_is_given_by_keyword() -> None:
    def function(payload: Any, *, context: Any) -> Any:
        return payload, context

    handler = make_handler("act", function)
    assert handler.takes_context
    assert handler.call(1, 2) == (1, 2)


@pytest.mark.parametrize(
    "function",
    [lambda: None, lambda a, b, c: None, lambda payload, *, other: None, "not callable", wrapped],
    ids=["none", "three", "keyword", "string", "wraps three"],
)
def test_a_function_that_cannot_take_a_payload_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="act"):
        make_handler("act", function)


def test_an_action_has_one_handler() -> None:
    worker = Worker()
    worker.register("act", str)
    with pytest.raises(ValueError, match="'act' has a handler already"):
        worker.register("act", str)


def test_register_is_a_decorator_too() -> None:
    worker = Worker()

    @worker.register("act")
    def act(payload: str) -> str:
        return payload.upper()

    assert act("a") == "A"
    assert list(worker.handlers) == ["act"]


@pytest.mark.parametrize("action", ["", None, 7])
def test_an_action_is_a_non_empty_string(action: Any) -> None:
    with pytest.raises(TypeError, match="an action is"):
        Worker().register(action, str)


async def test_a_worker_without_handlers_does_not_start() -> None:
    with pytest.raises(WorkflowError, match="no handlers"):
        await Worker().run("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"worker_id": "no spaces"},
        {"worker_id": ""},
        {"worker_id": "x" * 129},
        {"lease": 0.5},
        {"lease": 4000},
        {"drain_timeout": -1},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Worker(**wrong)
