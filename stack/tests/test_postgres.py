"""What a cluster keeps, and who it runs as."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stack.daemon import wait_for
from stack.ports import free_port
from stack.postgres import Postgres
from stack.service import StackError

SECONDS_MAX = 10.0


def test_a_commit_survives_a_crash(postgres: Postgres) -> None:
    postgres.execute("CREATE TABLE kept (value int)")
    postgres.execute("INSERT INTO kept VALUES (7)")
    postgres.kill()
    postgres.start()
    assert postgres.execute("SELECT value FROM kept") == "7"


def test_sessions_of_a_main_process_that_died_alone_are_cleared_away(postgres: Postgres) -> None:
    postgres.pause()  # so that they do not notice, and hold on to the data
    main = postgres.pid
    assert main is not None
    os.kill(main, signal.SIGKILL)
    assert wait_for(lambda: postgres.pid is None, SECONDS_MAX)
    postgres.start()
    assert postgres.execute("SELECT 1") == "1"


def test_a_commit_is_on_the_disk_unless_a_test_says_otherwise(postgres: Postgres, tmp_path: Path) -> None:
    assert postgres.execute("SHOW fsync") == "on"
    assert postgres.execute("SHOW synchronous_commit") == "on"
    with Postgres(tmp_path, free_port(), durable=False).running() as fast:
        assert fast.execute("SHOW fsync") == "off"


def test_it_does_not_run_as_root(postgres: Postgres) -> None:
    assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_only_who_knows_the_password_gets_in(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.postgres.PASSWORD", "wrong")
    with pytest.raises(StackError, match="password authentication failed"):
        postgres.execute("SELECT 1")


def test_a_folder_that_was_left_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("15\n")
    with Postgres(tmp_path, free_port(), durable=False).running() as postgres:
        assert postgres.execute("SELECT current_database()") == "orchestrator"
