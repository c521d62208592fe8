"""What a handler looks like, decided once, when it is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

CONTEXT_NAMES: Final = frozenset({"context", "ctx"})


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler that is always called as `call(payload)`, or as `call(payload, context)` when `takes_context`."""

    action: str
    call: Callable[..., Any]
    is_async: bool
    takes_context: bool


def make_handler(action: str, function: Callable[..., Any]) -> Handler:
    """Look at a function and decide how it is called. Raises `TypeError` when it cannot take a payload."""
    if not isinstance(action, str) or not action:
        raise TypeError(f"an action is a non-empty string, not {action!r}")
    if not callable(function):
        raise TypeError(f"the handler of {action!r} is not callable: {function!r}")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted: an object may have an async one
    )
    style = _context_style(action, function)
    if style == "keyword":
        return Handler(action, _by_keyword(function), is_async, takes_context=True)
    return Handler(action, function, is_async, takes_context=style == "second")


def _context_style(action: str, function: Callable[..., Any]) -> str:
    """Return how the context goes in: `second` argument, `keyword`, or `none`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "none"  # a builtin that does not tell its signature
    in_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in in_place if p.default is p.empty]
    by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    is_named = [p.name for p in by_name] == ["context"]
    if (not in_place and not takes_any) or len(required) > 2 or (by_name and not is_named):
        raise TypeError(
            f"the handler of {action!r} is called with (payload) or (payload, context); "
            f"{getattr(function, '__qualname__', function)}{inspect.signature(function)} does not fit"
        )
    if is_named:
        return "keyword"
    if len(required) == 2:
        return "second"
    # A second parameter with a default is the context only if it says so: `lambda payload, x=x: …` keeps its x.
    return "second" if len(in_place) >= 2 and _means_context(in_place[1]) else "none"


def _means_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    name = annotation if isinstance(annotation, str) else repr(annotation)
    return parameter.name in CONTEXT_NAMES or "Context" in name


def _by_keyword(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(payload: Any, context: Any) -> Any:
        return function(payload, context=context)

    return call
