"""What holds for each of the three; see `stack.service.Service`."""

from __future__ import annotations

from stack.daemon import Daemon
from stack.ports import is_free
from stack.service import Service
from stack.tests.conftest import SERVICES


def same(service: Daemon) -> Daemon:
    """The service as another Python process sees it."""
    return SERVICES[service.name](service.folder, service.port)


def test_a_second_start_changes_nothing(service: Daemon) -> None:
    before = service.pid
    service.start()
    same(service).start()
    assert service.pid == before
    assert service.answers()


def test_another_python_process_finds_it(service: Daemon) -> None:
    other: Service = same(service)
    assert other.pid == service.pid
    assert other.url == service.url
    assert other.answers()


def test_a_pause_is_silence_and_ends(service: Daemon) -> None:
    service.pause()
    assert service.pid is not None
    assert not service.answers()
    service.resume()
    service.wait_until_ready()


def test_a_start_wakes_what_was_frozen(service: Daemon) -> None:
    before = service.pid
    service.pause()
    same(service).start()
    assert service.answers()
    assert service.pid == before


def test_after_a_kill_nothing_is_left_and_a_start_mends_it(service: Daemon) -> None:
    service.kill()
    assert service.pid is None
    assert not service.answers()
    assert is_free(service.port)
    service.start()
    assert service.answers()


def test_stopping_frees_the_port_and_can_be_done_twice(service: Daemon) -> None:
    service.stop()
    same(service).stop()
    service.kill()
    assert service.pid is None
    assert is_free(service.port)
