"""docker-compose.yaml and what it builds from, as far as they can be checked without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from stack import kafka_libs, postgres, settings
from stack.examples import EXAMPLES, LANGUAGES, command
from stack.settings import CHECKOUT

COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
INFRASTRUCTURE = {"kafka", "postgres", "redis"}


def services_of(profile: str) -> set[str]:
    """The services that a profile starts, without those that they need."""
    return {name for name, service in SERVICES.items() if profile in service.get("profiles", [profile])}


@pytest.mark.parametrize("profile", ["python", "java", "node", "all"])
def test_each_profile_has_all_that_its_services_need(profile: str) -> None:
    started = services_of(profile)
    assert {*INFRASTRUCTURE, "orchestrator"} <= started
    for name in started:
        assert SERVICES[name].get("depends_on", {}).keys() <= started


def test_without_a_profile_only_the_infrastructure_starts() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == INFRASTRUCTURE


def test_who_needs_a_service_waits_until_it_is_healthy() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]


def test_data_lies_in_named_volumes() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == COMPOSE["volumes"].keys() == INFRASTRUCTURE


def test_ports_are_those_of_make_stack_and_for_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    for name, default in settings.PORTS.items():
        assert any(port.startswith(f"127.0.0.1:${{{name}:-{default}}}:") for port in published)
    assert len(published) == len(settings.PORTS)


def test_the_parts_are_those_that_run_without_docker() -> None:
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)", kafka_libs.POM.read_text())
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"
    assert int(SERVICES["postgres"]["image"].partition(":")[2]) >= postgres.MAJOR_MIN
    assert (
        f"--database=postgresql://{postgres.USER}:{postgres.PASSWORD}@postgres:5432/{postgres.DATABASE}"
        in (SERVICES["orchestrator"]["command"])
    )


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_what_an_image_copies_is_there_and_not_ignored(name: str) -> None:
    ignore = (CHECKOUT / ".dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    text = (CHECKOUT / SERVICES[name]["build"]["dockerfile"]).read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (CHECKOUT / source).exists()
            assert any(path == source or path.startswith(f"{source}/") for path in let_through), source


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_an_image_runs_as_nobody_special(name: str) -> None:
    text = (CHECKOUT / SERVICES[name]["build"]["dockerfile"]).read_text()
    last_stage = text.rpartition("FROM ")[2]
    assert re.search(r"^USER (?!root)\w+$", last_stage, re.MULTILINE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_example_is_a_service(language: str) -> None:
    for example in EXAMPLES:
        service = SERVICES[f"{language}-{example}"]
        assert service["profiles"] == [language, "all"]
        # What it starts there is what it starts without Docker.
        (word,) = service["command"]
        last = command(language, example)[-1]
        assert last == word or last.endswith(f"/{word}")


def test_docker_itself_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("no docker compose here")
    command = [docker, "compose", "--file", str(CHECKOUT / "docker-compose.yaml"), "--profile", "all", "config", "-q"]
    subprocess.run(command, check=True, env=dict(os.environ))
