"""Reading definitions from files: JSON or YAML, one or a list, or several YAML documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from orchestrator.cli.failure import Failure


class Definition(NamedTuple):
    """A definition as JSON, and where it was found."""

    place: str
    id: str
    raw: bytes


def read_definitions(files: Sequence[Path]) -> list[Definition]:
    """Read all definitions of some files; ``-`` is standard input.

    Raises:
        Failure: a file cannot be read, or is neither JSON nor YAML.
    """
    return [definition for file in files for definition in _read(file)]


def _read(file: Path) -> Iterator[Definition]:
    name = "standard input" if str(file) == "-" else str(file)
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise Failure(f"{name} cannot be read", why=error.strerror or str(error), mend="check the path") from None
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not text", why=f"byte {error.start} is not UTF-8", mend="save it in UTF-8") from None
    documents = _parse(text, file.suffix.lower(), name)
    values = [value for document in documents for value in (document if isinstance(document, list) else [document])]
    if not values:
        raise Failure(f"{name} holds no definition", mend="see docs/rest-api.md for an example")
    for number, value in enumerate(values):
        place = name if len(values) == 1 else f"{name} [{number}]"
        known = value.get("id", "") if isinstance(value, dict) else ""
        try:
            yield Definition(place, str(known), msgspec.json.encode(value))
        except (TypeError, ValueError) as error:
            raise Failure(f"{place} cannot be written as JSON", why=str(error)) from None
        except RecursionError:  # an alias of YAML may stand within its own anchor
            raise Failure(f"{place} cannot be written as JSON", why="it is nested without end") from None


def _parse(text: str, suffix: str, name: str) -> list[Any]:
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and text.lstrip()[:1] in ("{", "[")):
        try:
            return [json.loads(text, parse_constant=_refuse)]
        except (ValueError, RecursionError) as error:
            raise Failure(f"{name} is not JSON", why=str(error), mend="mend the file and try again") from None
    import yaml

    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise Failure(
            f"{name} is not YAML", why=" ".join(str(error).split()), mend="mend the file and try again"
        ) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
