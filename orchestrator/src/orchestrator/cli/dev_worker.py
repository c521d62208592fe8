"""The process of a worker under ``orchestrator dev``: ``python -m orchestrator.cli.dev_worker MODULE_OR_FILE URL``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from workersdk import Worker

from orchestrator.demo.lifeline import stop_with_parent


def main(target: str, url: str) -> None:
    """Load the worker and start it."""
    stop_with_parent()
    load_worker(target).start(url)


def load_worker(target: str) -> Worker:
    """Find the object ``worker`` of a file or a module; ``:name`` after it names another one.

    Raises:
        SystemExit: there is none; the text says what to write.
    """
    place, _, name = target.partition(":")
    name = name or "worker"
    module = _load(place)
    worker = getattr(module, name, None)
    if not isinstance(worker, Worker):
        example = "from workersdk import Worker\n\nworker = Worker()\nworker.register('hello', lambda payload: payload)"
        raise SystemExit(f"{place} has no worker under the name {name!r}; it needs something like\n\n{example}\n")
    return worker


def _load(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py" and not path.exists():
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
