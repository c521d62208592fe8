"""The workers of `examples` as commands: the same programs in each language, as `make` has built them."""

from __future__ import annotations

import os
import shutil
import sys

from stack.service import NotInstalled
from stack.settings import CHECKOUT

EXAMPLES = ("hello", "order", "long-job")
LANGUAGES = ("python", "node", "java")
PLAIN = "plain"
"""A worker on a plain Kafka client, without the SDK: `command` knows it too."""

FOLDER = CHECKOUT / "examples"
OWN_NODE = CHECKOUT / ".node" / "bin" / "node"
"""Where `make` puts Node.js when there is none."""
JAVA_MAINS = {
    "hello": "ExampleWorkerApp",
    "order": "OrderWorkerApp",
    "long-job": "LongJobWorkerApp",
    PLAIN: "PlainWorkerApp",
}


def node() -> str:
    """Give the program that runs JavaScript. Raises NotInstalled."""
    found = str(OWN_NODE) if OWN_NODE.exists() else shutil.which("node")
    if found is None:
        raise NotInstalled("Node.js is not installed: make node")
    return found


def java() -> str:
    """Give the program that runs classes. Raises NotInstalled."""
    found = shutil.which("java")
    if found is None:
        raise NotInstalled("Java is not installed: make java")
    return found


def sdk_for_java() -> str:
    """Give the class path of the SDK and of what it needs, as `make java` has built it."""
    target = CHECKOUT / "sdks" / "java" / "target"
    return os.pathsep.join([str(target / "classes"), str(target / "lib" / "*")])


def command(language: str, example: str) -> list[str]:
    """Give the command that starts an example. Raises NotInstalled when it is not built."""
    return {"python": _python, "node": _node, "java": _java}[language](example)


def _python(example: str) -> list[str]:
    return [sys.executable, str(FOLDER / "python" / f"{example}.py")]


def _node(example: str) -> list[str]:
    script = FOLDER / "node" / "dist" / f"{example}.js"
    if not script.exists():
        raise NotInstalled("the workers of examples/node are not built: make node")
    return [node(), str(script)]


def _java(example: str) -> list[str]:
    classes, main = FOLDER / "java" / "target" / "classes", JAVA_MAINS[example]
    if not (classes / f"{main}.class").exists():
        raise NotInstalled("the workers of examples/java are not built: make java")
    # Small and quick to start, as workers that do much need not be.
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m"]
    return [java(), *flags, "-cp", os.pathsep.join([str(classes), sdk_for_java()]), main]
