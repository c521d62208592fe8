"""Processes that are not what they seem, and starts that fail. Redis is taken for all: it is the fastest."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from stack import processes
from stack.daemon import Daemon, wait_for
from stack.ports import FREE_PORTS, free_port, is_free
from stack.redis import Redis
from stack.service import HOST, NotReady, PortTaken, StackError

SECONDS_MAX = 10.0


class Script(Daemon):
    """A process of a few lines of Python that answers to nobody."""

    name = "script"
    setting: ClassVar[str] = "SCRIPT_PORT"
    source = ""

    @property
    def url(self) -> str:
        return ""

    def prepare(self) -> list[str]:
        return [sys.executable, "-c", self.source]

    def answers(self) -> bool:
        return False


class Crashing(Script):
    source = "raise SystemExit('the disk is on fire')"


class Silent(Script):
    source = "import signal; signal.pause()"


def test_a_port_of_somebody_else_is_named_with_its_setting(redis: Redis) -> None:
    with socket.create_server((HOST, redis.port)), pytest.raises(PortTaken, match=rf"{redis.port}.*REDIS_PORT="):
        redis.start()
    assert redis.pid is None


def test_a_process_that_ends_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="the disk is on fire"):
        Crashing(tmp_path, free_port()).start()


def test_a_process_that_stays_silent_is_ended(tmp_path: Path) -> None:
    silent = Silent(tmp_path, free_port())
    with pytest.raises(NotReady, match=r"did not answer on port \d+ within 0.2 s"):
        silent.start(seconds=0.2)
    assert silent.pid is None


def test_a_stranger_with_the_number_of_a_dead_process_is_left_alone(redis: Redis) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        redis.folder.mkdir()
        (redis.folder / "redis.pid").write_text(f"{stranger.pid} long-ago\n")
        assert redis.pid is None
        redis.stop()
        redis.kill()
        with redis.running():
            assert redis.pid != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "12", "no number", "12 "])
def test_a_pid_file_that_was_cut_short_names_nobody(redis: Redis, content: str) -> None:
    redis.folder.mkdir()
    (redis.folder / "redis.pid").write_text(content)
    assert redis.pid is None


def test_a_crash_from_outside_is_noticed_and_mended(redis: Redis) -> None:
    with redis.running():
        first = redis.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: redis.pid is None, SECONDS_MAX)
        with pytest.raises(NotReady, match="ended"):
            redis.wait_until_ready()
        with pytest.raises(NotReady, match="does not run"):
            redis.pause()
        redis.start()
        assert redis.pid != first


def test_a_family_is_killed_with_its_children(tmp_path: Path) -> None:
    source = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    with subprocess.Popen([sys.executable, "-c", source]) as parent:
        process = processes.process(parent.pid)
        assert process is not None
        assert wait_for(lambda: len(process.family()) == 2, SECONDS_MAX)
        family = process.freeze()
        for member in family:
            member.signal(signal.SIGKILL)
        parent.wait()
        assert wait_for(lambda: not any(member.lives() for member in family), SECONDS_MAX)


def test_a_start_on_another_port_moves_it(redis: Redis) -> None:
    with redis.running():
        first = redis.pid
        with Redis(redis.folder, free_port()).running() as moved:
            assert moved.answers()
            assert moved.pid != first
            assert is_free(redis.port)


def test_redis_forgets_with_its_process(redis: Redis) -> None:
    def ask(line: str) -> bytes:
        with socket.create_connection((HOST, redis.port)) as connection:
            connection.sendall(f"{line}\r\n".encode())
            return connection.recv(100)

    with redis.running():
        assert ask("SET key value").startswith(b"+OK")
        redis.restart()
        assert ask("GET key").startswith(b"$-1")


def test_free_ports_are_none_that_systems_give_to_clients() -> None:
    port = free_port()
    assert port in FREE_PORTS
    assert is_free(port)
    with socket.create_server((HOST, port)):
        assert not is_free(port)


def test_a_port_is_given_to_one_process_until_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    give = "from stack.ports import free_port; print(free_port(), flush=True); input()"
    command = [sys.executable, "-c", give]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        monkeypatch.setattr("stack.ports.FREE_PORTS", range(theirs, theirs + 1))
        with pytest.raises(StackError, match="no free port"):
            free_port()
        other.communicate("\n", SECONDS_MAX)
    assert free_port() == theirs
    with pytest.raises(StackError, match="no free port"):
        free_port()


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps here")
def test_processes_are_found_with_ps_as_with_proc(tmp_path: Path) -> None:
    own = processes.table_of_ps("-p", str(os.getpid())).get(os.getpid())
    assert own is not None
    assert own.parent == os.getppid()
