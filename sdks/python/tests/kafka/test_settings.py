"""What can be set about Kafka, and what cannot. No broker is needed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workersdk import SettingError, Worker
from workersdk.kafka.config import OWN, KafkaConfig, Topics, read_config
from workersdk.kafka.quiet import Quiet
from workersdk.transport import kafka_servers, resolve_url

QUIET = Quiet(logging.getLogger("workersdk"))


def config(environment: dict[str, str] | None = None, **settings: Any) -> KafkaConfig:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return read_config("broker:9092", named, environment or {}, is_strict=False)


@pytest.mark.parametrize(
    ("address", "servers"),
    [
        ("kafka:9092", "kafka:9092"),
        ("h1:9092,h2:9093", "h1:9092,h2:9093"),
        (" h1:9092, h2:9093 ", "h1:9092,h2:9093"),
        ("kafka://broker:9092", "broker:9092"),
        ("KAFKA://broker", "broker"),
        ("kafka://h1:1,h2:2/", "h1:1,h2:2"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:9092", "[::1]:9092"),
        ("http://host:8080", None),
        ("localhost", None),
        ("h1:9092,", None),
        ("kafka://", None),
        ("user:secret@host:9092", None),
    ],
)
def test_addresses_of_brokers(address: str, servers: str | None) -> None:
    assert kafka_servers(address.strip()) == servers


def test_where_the_address_comes_from(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test")
    caplog.set_level(logging.INFO)
    assert resolve_url(None, logger) == resolve_url("kafka:9092", logger) == "kafka:9092"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "h1:9092,h2:9092")
    assert resolve_url(None, logger) == "h1:9092,h2:9092"
    monkeypatch.setenv("WORKFLOW_URL", "http://me:secret@from-the-environment:8080")
    assert resolve_url(None, logger) == "http://me:secret@from-the-environment:8080"
    for chosen in ("h3:9092", "kafka:9093", "kafka://kafka:9092", "kafka:9092,h3:9092", "http://here:8080"):
        assert resolve_url(chosen, logger) == chosen
    assert caplog.messages == []
    assert resolve_url(" kafka:9092 ", logger) == "http://me:secret@from-the-environment:8080"
    assert caplog.messages == [
        "kafka:9092 in the program is the documentation's example: the address is that of WORKFLOW_URL"
    ]
    monkeypatch.setenv("WORKFLOW_URL", "kafka:9092")
    assert resolve_url("kafka:9092", logger) == "kafka:9092"
    assert len(caplog.messages) == 1


def test_nearer_settings_win() -> None:
    environment = {"KAFKA_PROP_SESSION_TIMEOUT_MS": "20000", "KAFKA_PROP_FETCH_WAIT_MAX_MS": "50"}
    merged = config(environment, session_timeout_ms=30_000).consumer("me", "group", QUIET)
    assert merged["session.timeout.ms"] == 30_000
    assert merged["fetch.wait.max.ms"] == "50"
    assert merged["heartbeat.interval.ms"] == 1_000
    assert merged["group.id"] == "group"
    assert merged["bootstrap.servers"] == "broker:9092"


def test_security_from_the_environment_is_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    environment = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_PASSWORD_FILE": str(secret),
        "KAFKA_SSL_CA": "/etc/ca.pem",
        "KAFKA_PROP_LOG_LEVEL": "3",
    }
    read = config(environment)
    assert read.properties == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "s3cret",
        "ssl.ca.location": "/etc/ca.pem",
        "log_level": "3",
    }
    assert "s3cret" not in repr(read)
    with pytest.raises(SettingError, match="KAFKA_SASL_PASSWORD_FILE"):
        config({"KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "missing")})


@pytest.mark.parametrize("name", sorted(OWN))
def test_what_the_promises_rest_on_cannot_be_set(name: str) -> None:
    with pytest.raises(SettingError, match=name):
        read_config("broker:9092", {name: "x"}, {}, is_strict=False)
    with pytest.raises(SettingError, match="KAFKA_PROP_"):
        config({"KAFKA_PROP_" + name.upper().replace(".", "_"): "x"})


def test_topics_from_the_environment() -> None:
    assert config().topics == Topics()
    assert config({"WORKFLOW_JOBS_TOPIC": "j", "WORKFLOW_CONTROL_TOPIC": ""}).topics == Topics(jobs="j")


def test_a_prefix_goes_before_topics_and_groups_and_a_named_topic_has_none() -> None:
    read = config(
        {"WORKFLOW_KAFKA_PREFIX": "eu-", "WORKFLOW_RESULTS_TOPIC": "r", "WORKFLOW_ROUTES": "a=hot, b=c=warm,"}
    )
    assert read.topics == Topics(
        jobs="eu-workflow-jobs", results="r", heartbeats="eu-workflow-heartbeats", control="eu-workflow-control"
    )
    assert read.routes == {"a": "eu-hot", "b=c": "eu-warm"}
    assert (read.topic_of("a"), read.topic_of("x")) == ("eu-hot", "eu-workflow-jobs")
    assert read.group_of("a") == "eu-workflow-worker.a"


def test_routes_of_the_program_win_over_those_of_the_environment() -> None:
    environment = {"WORKFLOW_ROUTES": "a=hot,b=warm"}
    read = read_config("broker:9092", {}, environment, is_strict=False, routes={"a": "mine"})
    assert read.routes == {"a": "mine", "b": "warm"}
    for text in ("a", "=x", "a="):
        with pytest.raises(SettingError, match="WORKFLOW_ROUTES"):
            config({"WORKFLOW_ROUTES": text})


@pytest.mark.parametrize("settings", [{"no.such.property": 1}, {"session.timeout.ms": "soon"}])
def test_a_property_that_the_client_does_not_know_is_an_error(settings: dict[str, Any]) -> None:
    worker = Worker(kafka=settings)
    worker.register("act", str)
    with pytest.raises(SettingError, match=next(iter(settings)).replace(".", r"\.")):
        worker.start("127.0.0.1:1")


def test_without_the_library_the_error_says_how_to_get_it() -> None:
    program = """if True:
        import sys
        sys.modules["confluent_kafka"] = None
        from workersdk import UnsupportedTransportError, Worker
        worker = Worker()
        worker.register("act", str)
        try:
            worker.start("kafka:9092")
        except UnsupportedTransportError as error:
            print(error)
    """
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "pip install 'confluent-kafka" in said


def test_http_alone_does_not_load_the_library() -> None:
    program = "import sys, workersdk; sys.exit('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
