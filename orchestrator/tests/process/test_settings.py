"""Settings: who wins over whom, and what is refused in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.properties import REFUSED, without_secrets
from orchestrator.bootstrap import kafka_config
from orchestrator.model.limits import Limits
from orchestrator.model.role import ALL_ROLES, Role
from orchestrator.settings import Settings, SettingsError, load_settings

FILE = """
host = "localhost"
port = 9000
data = "from-file"
memory = true
hosts = "a, b"
log_level = "debug"

[limits]
json_depth_max = 10
idempotency_seconds = 3600
wait_seconds_max = 2.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orchestrator.toml"
    path.write_text(FILE, "utf-8")
    return path


def refusal(flags: dict[str, object], environ: dict[str, str], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, environ, config)
    return str(caught.value)


def test_without_any_source_the_defaults_hold() -> None:
    assert load_settings({}, {"PATH": "/bin", "HOST": "x"}, None) == Settings()
    assert Settings().limits == Limits()
    assert (Settings().host, Settings().port, Settings().is_local) == ("127.0.0.1", 8080, True)


def test_a_file_sets_everything(file: Path) -> None:
    expected = Settings(
        host="localhost",
        port=9000,
        data=Path("from-file"),
        memory=True,
        hosts="a, b",
        log_level="debug",
        limits=Limits(json_depth_max=10, idempotency_seconds=3600, wait_seconds_max=2.5),
    )
    assert load_settings({}, {}, file) == expected
    assert load_settings({}, {"ORCHESTRATOR_CONFIG": str(file)}, None) == expected


def test_a_file_that_is_named_by_a_flag_wins_over_one_named_by_a_variable(file: Path, tmp_path: Path) -> None:
    assert load_settings({}, {"ORCHESTRATOR_CONFIG": str(tmp_path / "nowhere")}, file).port == 9000


def test_variables_win_over_the_file_and_flags_over_both(file: Path) -> None:
    environ = {"ORCHESTRATOR_PORT": "9001", "ORCHESTRATOR_HOSTS": "c", "ORCHESTRATOR_JSON_DEPTH_MAX": "11"}
    settings = load_settings({"port": 9002, "data": Path("from-flag"), "memory": None}, environ, file)
    assert (settings.port, settings.hosts, settings.host) == (9002, "c", "localhost")
    assert (settings.data, settings.memory) == (Path("from-flag"), True)
    assert (settings.limits.json_depth_max, settings.limits.idempotency_seconds) == (11, 3600)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("PORT", "1", "port", 1),
        ("PORT", "65535", "port", 65_535),
        ("MEMORY", "true", "memory", True),
        ("MEMORY", "0", "memory", False),
        ("DATA", "/var/lib/x y", "data", Path("/var/lib/x y")),
        ("HOST", "::", "host", "::"),
        ("LOG_LEVEL", "error", "log_level", "error"),
    ],
)
def test_variables_are_read_by_type(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(load_settings({}, {f"ORCHESTRATOR_{variable}": text}, None), name) == value


def test_every_limit_can_be_set_by_a_variable() -> None:
    for name, default in ((name, getattr(Limits(), name)) for name in Limits.__struct_fields__):
        settings = load_settings({}, {f"ORCHESTRATOR_{name.upper()}": str(default + 1)}, None)
        assert getattr(settings.limits, name) == default + 1


def test_variables_of_clients_are_no_settings() -> None:
    assert load_settings({}, {"ORCHESTRATOR_URL": "http://there:8080"}, None) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "abc"),
        ("PORT", ""),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("PORT", "tcp://10.0.0.1:8080"),
        ("MEMORY", "maybe"),
        ("MEMORY", ""),
        ("HOST", ""),
        ("LOG_LEVEL", "loud"),
        ("JSON_DEPTH_MAX", "deep"),
        ("JSON_DEPTH_MAX", "0"),
        ("JSON_DEPTH_MAX", "-1"),
        ("LEASE_SECONDS_DEFAULT", "0"),
        ("LEASE_SECONDS_DEFAULT", "30s"),
        ("WAIT_SECONDS_MAX", "-0.5"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_source(variable: str, text: str) -> None:
    message = refusal({}, {f"ORCHESTRATOR_{variable}": text})
    assert message.startswith(f"the variable ORCHESTRATOR_{variable}: {variable.lower()} is wrong: ")


def test_the_source_that_counts_is_the_one_that_is_blamed(file: Path) -> None:
    assert refusal({"port": 0}, {"ORCHESTRATOR_PORT": "9001"}, file).startswith("the flag --port: port is wrong")
    assert load_settings({"port": 9002}, {"ORCHESTRATOR_PORT": "no number"}, file).port == 9002


@pytest.mark.parametrize("name", ["PROT", "LIMITS", "JSON_DEPTH", "", "CONFIG_FILE"])
def test_a_variable_that_is_not_known_is_refused(name: str) -> None:
    message = refusal({}, {f"ORCHESTRATOR_{name}": "1"})
    assert f"ORCHESTRATOR_{name}" in message
    assert "docs/configuration.md" in message


def test_a_flag_that_is_not_known_is_refused() -> None:
    assert "the flag --log-levle" in refusal({"log_levle": "info"}, {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prot = 1", ["there is no setting 'prot'"]),
        ("[limits]\njson_depth = 1", ["there is no limit 'json_depth'", "docs/limits.md"]),
        ("[limits]\nport = 1", ["there is no limit 'port'"]),
        ("limits = 5", ["limits is no table"]),
        ("[server]\nport = 1", ["there is no setting 'server'"]),
        ("port = 'x'", ["port is wrong", "Expected `int`"]),
        ("port = 1.5", ["port is wrong"]),
        ("hosts = ['a']", ["hosts is wrong"]),
        ("data = 5", ["data is wrong"]),
        ("memory = 'maybe'", ["memory is wrong"]),
        ("[limits]\njson_depth_max = 'deep'", ["json_depth_max is wrong"]),
        ("[limits]\nlease_seconds_max = 0", ["lease_seconds_max is wrong"]),
        ("port = ", ["cannot be read"]),
        ("port = 1\nport = 2", ["cannot be read"]),
        ("\x00", ["cannot be read"]),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, content: str, words: list[str]) -> None:
    path = tmp_path / "orchestrator.toml"
    path.write_text(content, "utf-8")
    message = refusal({}, {}, path)
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("make", ["nothing", "folder", "bytes"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, make: str) -> None:
    path = tmp_path / "orchestrator.toml"
    if make == "folder":
        path.mkdir()
    elif make == "bytes":
        path.write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal({}, {}, path)
    assert str(path) in refusal({}, {"ORCHESTRATOR_CONFIG": str(path)})


def test_a_limit_may_stand_beside_the_table_of_limits(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.toml"
    path.write_text("json_depth_max = 12", "utf-8")
    settings: Any = load_settings({}, {}, path)
    assert settings.limits.json_depth_max == 12


PROPERTIES = """
[kafka_properties]
"security.protocol" = "SASL_SSL"
"socket.keepalive.enable" = true
"session.timeout.ms" = 20000
"sasl.password" = "in the file"
"""


def test_properties_of_the_kafka_client_come_from_a_table_and_from_variables(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.toml"
    path.write_text(PROPERTIES, "utf-8")
    (tmp_path / "password").write_text("from a file\n", "utf-8")
    environ = {
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_MECHANISM": "",
        "KAFKA_SSL_CA": "/ca.pem",
        "KAFKA_PROP_FETCH_WAIT_MAX_MS": "50",
        "ORCHESTRATOR_KAFKA_PROP_FETCH_WAIT_MAX_MS": "60",
        "ORCHESTRATOR_KAFKA_PROP_LOG_LEVEL": "4",
        "KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
    }
    settings = load_settings({}, environ, path)
    assert settings.kafka_properties == {
        "security.protocol": "SASL_SSL",
        "socket.keepalive.enable": "true",
        "session.timeout.ms": "20000",
        "sasl.username": "me",
        "ssl.ca.location": "/ca.pem",
        "fetch.wait.max.ms": "60",
        "log_level": "4",
        "sasl.password": "from a file",
    }
    assert "from a file" not in repr(settings)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_the_promises_rest_on_cannot_be_set(name: str, tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.toml"
    path.write_text(f'[kafka_properties]\n"{name}" = "x"\n', "utf-8")
    variable = name.upper().replace(".", "_")
    for environ in ({f"ORCHESTRATOR_KAFKA_PROP_{variable}": "x"}, {f"KAFKA_PROP_{variable}": "x"}):
        said = refusal({}, environ)
        assert f"the Kafka property {name} cannot be set: {REFUSED[name]}" in said
        assert next(iter(environ)) in said
    assert REFUSED[name] in refusal({}, {}, path)
    with pytest.raises(ValueError, match=re.escape(name)):
        KafkaConfig(servers="kafka:9092", properties={name: "x"})


def test_a_property_that_is_no_plain_value_or_a_password_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.toml"
    path.write_text("[kafka_properties]\ndebug = [1]\n", "utf-8")
    assert "the Kafka property debug is neither text" in refusal({}, {}, path)
    path.write_text("kafka_properties = 1\n", "utf-8")
    assert "kafka_properties is no table" in refusal({}, {}, path)
    missing = str(tmp_path / "missing")
    for variable in ("ORCHESTRATOR_KAFKA_PASSWORD_FILE", "KAFKA_SASL_PASSWORD_FILE"):
        assert f"kafka_password_file: {missing} cannot be read" in refusal({}, {variable: missing})


def test_limits_of_kafka_reach_its_clients() -> None:
    limits = Limits(
        kafka_call_seconds=3, kafka_delivery_seconds=4, kafka_record_bytes_max=5_000_000, kafka_records_max=6
    )
    config = kafka_config(Settings(kafka="kafka:9092", limits=limits))
    assert (config.call_seconds, config.delivery_seconds) == (3, 4)
    assert (config.record_bytes_max, config.records_max) == (5_000_000, 6)
    assert kafka_config(Settings(kafka="kafka:9092")) == KafkaConfig(servers="kafka:9092", start_seconds=60)


def test_the_largest_payload_has_to_fit_into_a_record() -> None:
    flags: dict[str, object] = {"database": "postgresql://h/d", "kafka": "kafka:9092"}
    large = {"ORCHESTRATOR_PAYLOAD_BYTES_MAX": "8388608"}
    assert "payload_bytes_max is not below kafka_record_bytes_max" in refusal(flags, large)
    load_settings(flags, {**large, "ORCHESTRATOR_KAFKA_RECORD_BYTES_MAX": "9000000"}, None)
    # Without Kafka there are no records.
    load_settings({}, large, None)


def test_with_the_newer_protocol_of_groups_the_client_gets_nothing_that_it_would_refuse() -> None:
    ours = {"session.timeout.ms": 1, "heartbeat.interval.ms": 1, "partition.assignment.strategy": "x", "debug": "a"}
    config = KafkaConfig(servers="kafka:9092", properties={"group.protocol": "consumer", "client.id": "me"})
    assert config.client("x", ours) == {
        "bootstrap.servers": "kafka:9092",
        "client.id": "me",
        "log_level": 3,
        "debug": "a",
        "group.protocol": "consumer",
    }


def test_secrets_are_taken_out_of_what_the_client_says() -> None:
    given = {"sasl.password": "hunter22", "ssl.key.pem": "BEGIN", "sasl.username": "hunter", "ssl.key.password": "ab"}
    assert without_secrets("hunter22 BEGIN hunter ab", given) == "*** *** hunter ab"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:p%40ss@somewhere:7000/3",
        "rediss://:p@[::1]:6380/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=a&ssl_keyfile=b",
        "redis://somewhere/",
    ],
)
def test_an_address_of_a_redis_is_taken(url: str) -> None:
    settings = load_settings({"database": "postgresql://here/db"}, {"ORCHESTRATOR_REDIS": url}, None)
    assert settings.redis == url


def test_a_redis_without_a_database_is_refused() -> None:
    assert "redis needs a database" in refusal({"redis": "redis://somewhere"}, {})


@pytest.mark.parametrize(
    "url",
    [
        "somewhere:6379",
        "http://s3cret@somewhere",
        "redis://",
        "redis://:s3cret@",
        "redis://:s3cret@somewhere:port",
        "redis://:s3cret@somewhere:0",
        "redis://:s3cret@somewhere:66000",
        "redis://:s3cret@somewhere/one",
        "redis://:s3cret@somewhere/0?socket_timeout=5",
        "redis://:s3cret@somewhere/0?ssl_ca_certs=/etc/ca.pem",
        "rediss://:s3cret@somewhere/0?ssl_cert_reqs=none",
        "rediss://:s3cret@somewhere/0?nonsense",
        "redis://:s3cret@[::1",
        "unix:///run/redis.sock",
    ],
)
def test_an_address_of_a_redis_that_makes_no_sense_is_refused_and_not_repeated(url: str) -> None:
    message = refusal({"database": "postgresql://here/db", "redis": url}, {})
    assert message.startswith("redis ")
    assert "s3cret" not in message


KAFKA = {"database": "postgresql://u:p@h/d", "kafka": "h:9092"}


def test_a_process_has_all_roles_unless_it_is_told_otherwise() -> None:
    assert Settings().role_set == ALL_ROLES
    settings = load_settings({**KAFKA, "roles": " timers, api,"}, {}, None)
    assert settings.role_set == {Role.API, Role.TIMERS}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({**KAFKA, "roles": "api,timer"}, ["no role 'timer'", "api, engine, timers"]),
        ({**KAFKA, "roles": " , "}, ["no role is named"]),
        ({"roles": "api,engine"}, ["leaves out timers", "data folder", "--kafka"]),
        ({"database": "postgresql://u:p@h/d", "roles": "api"}, ["leaves out engine, timers", "without Kafka"]),
    ],
)
def test_roles_that_make_no_sense_are_refused(flags: dict[str, object], words: list[str]) -> None:
    message = refusal(flags, {})
    for word in words:
        assert word in message
