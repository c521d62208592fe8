"""PostgreSQL: a cluster of its own, apart from one that the system's packages may have made."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from stack import processes
from stack.daemon import Daemon, end
from stack.service import HOST, NotInstalled, NotReady, StackError

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each major version."""
MAJOR_MIN = 15

USER = DATABASE = "orchestrator"
PASSWORD = "orchestrator"  # noqa: S105 - guards a server that only this machine can reach
UNPRIVILEGED = ("postgres", "nobody")
"""Who PostgreSQL runs as when we are root, which it refuses to run as; the first that exists."""

ANSWER_SECONDS_MAX = 2.0
STATEMENT_SECONDS_MAX = 30.0
PROGRAMS = ("initdb", "postgres", "psql")

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "512MB",  # half of the default: a small disk is enough
    "log_min_messages": "warning",
}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For tests that do not pull the plug: a commit is not on the disk. A crash of the process alone loses nothing."""


class Postgres(Daemon):
    """One cluster with the user and the database `orchestrator`; the user may create further databases."""

    name = "postgres"
    setting: ClassVar[str] = "POSTGRES_PORT"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # ends sessions; SIGTERM would wait for them

    def __init__(self, folder: Path, port: int, *, durable: bool = True) -> None:
        super().__init__(folder, port)
        self._durable = durable

    @property
    def url(self) -> str:
        """As PostgreSQL clients want it, with the password."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of another database of the cluster."""
        return f"postgresql://{USER}:{PASSWORD}@{HOST}:{self.port}/{database}"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        # A main process that was killed alone leaves sessions; until they end, nobody else may use the data.
        end(processes.at_work_in(self.data, "postgres"))
        if not self.data.exists():
            self._init()
        settings = {**SETTINGS, "port": str(self.port), **({} if self._durable else FAST)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._as_unprivileged(), program("postgres"), "-D", str(self.data), *words]

    def answers(self) -> bool:
        """Whether a query is answered."""
        try:
            return self.execute("SELECT 1", seconds=ANSWER_SECONDS_MAX) == "1"
        except StackError:
            return False

    def execute(self, statement: str, database: str = DATABASE, seconds: float = STATEMENT_SECONDS_MAX) -> str:
        """Run one statement with psql; give its rows as lines, values apart by `|`.

        Raises:
            StackError: it failed, or took longer than `seconds`
        """
        command = [program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url_of(database), "-c", statement]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NotReady(f"postgres did not answer within {seconds:g} s") from None
        if done.returncode != 0:
            raise StackError(done.stderr.strip())
        return done.stdout.strip()

    @property
    def data(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "data"

    def _init(self) -> None:
        """Make the cluster, its user and its database; one that was cut short is made again."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        account = unprivileged()
        if account is not None:
            os.chown(fresh, account.pw_uid, account.pw_gid)
        password = self.folder / "password"
        password.write_text(f"{PASSWORD}\n")
        # The order of C is the same on every machine, and the fastest.
        words = ["--encoding=UTF8", "--no-locale", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        self._run("initdb", "-D", str(fresh), "-U", USER, *words)
        self._run("postgres", "--single", "-D", str(fresh), "postgres", statements=f"CREATE DATABASE {DATABASE}\n")
        if self._durable:
            self._run("initdb", "-D", str(fresh), "--sync-only")
        fresh.rename(self.data)

    def _run(self, name: str, *words: str, statements: str = "") -> None:
        command = [*self._as_unprivileged(), program(name), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=statements, cwd=self.folder)
        if done.returncode != 0:
            raise StackError(f"{name} failed: {done.stdout}{done.stderr}")

    def _as_unprivileged(self) -> list[str]:
        """Give the words before a command that make it run as somebody whom PostgreSQL accepts."""
        account = unprivileged()
        if account is None:
            return []
        words = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        if not is_open_to_all(self.folder):
            # The checkout lies in a folder of root's own, such as /root: the way through it needs a privilege.
            words += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return [*words, "--"]


def unprivileged() -> pwd.struct_passwd | None:
    """Give the account that PostgreSQL shall run as; None means our own."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError("PostgreSQL refuses to run as root, and there is no other user: useradd --system postgres")


def is_open_to_all(folder: Path) -> bool:
    """Whether everybody may pass through the folder."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def program(name: str) -> str:
    """Give the path of one of PostgreSQL's programs, of the newest version. Raises NotInstalled when there is none."""
    found = programs()
    if found is None:
        raise NotInstalled("PostgreSQL is not installed: make stack-install")
    return str(found / name)


def programs() -> Path | None:
    """Give the folder of PostgreSQL's programs; None when there is none that has them all."""
    debian = [folder for folder in DEBIAN.glob("*/bin") if int(folder.parent.name) >= MAJOR_MIN]
    onward = sorted(debian, key=lambda folder: int(folder.parent.name), reverse=True)
    in_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in [*onward, *in_path]:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    return None
