"""The jars of Kafka: fetched once with Maven, used by every broker of this checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.service import NotInstalled, StackError

POM = Path(__file__).parent / "pom.xml"


@dataclass(frozen=True)
class Libs:
    """A folder with the jars that pom.xml names, and what is made from them."""

    folder: Path

    @property
    def archive(self) -> Path:
        """Classes in the form in which Java has them in memory; halves the time and the CPU of a start."""
        return self.folder / "classes.jsa"

    def are_copied(self) -> bool:
        """Whether all the jars are there."""
        return self._copied.exists() and self._copied.read_text() == _wanted()

    def are_complete(self) -> bool:
        """Whether nothing is left to do after they were copied."""
        return self.are_copied() and self._completed.exists()

    def complete(self) -> None:
        """Remember that nothing is left to do."""
        self._completed.touch()

    def class_path(self) -> str:
        """The jars as Java wants them, always in the same order: an archive belongs to one order."""
        return os.pathsep.join(str(jar) for jar in sorted(self.folder.glob("*.jar")))

    def fetch(self) -> None:
        """Copy the jars from Maven Central, or from Maven's cache; an old folder is replaced.

        Raises:
            NotInstalled: there is no Maven
            StackError: Maven failed
        """
        maven = shutil.which("mvn")
        if maven is None:
            raise NotInstalled("Maven is not installed; on Debian or Ubuntu: sudo apt-get install maven")
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = [maven, "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
        if not os.access(Path.home(), os.W_OK):
            command.append(f"-Dmaven.repo.local={self.folder.with_name('maven')}")  # no home to keep a cache in
        command.append(f"-DoutputDirectory={fresh}")
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(f"Maven could not fetch Kafka:\n{done.stdout}{done.stderr}")
        (fresh / self._copied.name).write_text(_wanted())
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)

    @property
    def _copied(self) -> Path:
        return self.folder / "copied"

    @property
    def _completed(self) -> Path:
        return self.folder / "completed"


LIBS = Libs(Path(__file__).parent.parent / ".stack" / "kafka-libs")


def _wanted() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()
