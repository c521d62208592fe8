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


def command(language: str, example: str) -> list[str]:
    """Give the command that starts an example. Raises NotInstalled when it is not built."""
    return {"python": _python, "node": _node, "java": _java}[language](example)


def _python(example: str) -> list[str]:
    return [sys.executable, str(FOLDER / "python" / f"{example}.py")]


def _node(example: str) -> list[str]:
    node = str(OWN_NODE) if OWN_NODE.exists() else shutil.which("node")
    script = FOLDER / "node" / "dist" / f"{example}.js"
    if node is None or not script.exists():
        raise NotInstalled("the workers of examples/node are not built: make node")
    return [node, str(script)]


def _java(example: str) -> list[str]:
    java = shutil.which("java")
    classes, sdk = FOLDER / "java" / "target" / "classes", CHECKOUT / "sdks" / "java" / "target"
    if java is None or not (classes / f"{JAVA_MAINS[example]}.class").exists() or not (sdk / "lib").is_dir():
        raise NotInstalled("the workers of examples/java are not built: make java")
    path = os.pathsep.join([str(classes), str(sdk / "classes"), str(sdk / "lib" / "*")])
    return [java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", path, JAVA_MAINS[example]]
