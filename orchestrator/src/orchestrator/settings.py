"""Settings: flags, then ``ORCHESTRATOR_*`` variables, then a TOML file, then defaults.

Nothing else of the server reads the environment.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec.structs import fields, replace

from orchestrator.adapters.failpoints.armed import Failpoints, FailpointsNotValid
from orchestrator.adapters.kafka import properties
from orchestrator.model.limits import Limits
from orchestrator.model.role import ALL_ROLES, Role
from orchestrator.model.topics import TOPICS

PREFIX: Final = "ORCHESTRATOR_"
LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_ROUTES: Final = "kafka_routes"
_CONFIG: Final = PREFIX + "CONFIG"
_CLIENT_VARIABLES: Final = frozenset({PREFIX + "URL", _CONFIG})
"""Variables with the prefix that are no settings of the server."""
_PROPERTY: Final = PREFIX + properties.VARIABLE_PREFIX
"""Begins the variables that set a property of the Kafka client."""
_REDIS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""What the address of a Redis may say of TLS."""


class SettingsError(Exception):
    """A setting is not known or has a wrong value; the text says which, and where it came from."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server is told at its start."""

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8080
    """The port to listen on."""
    data: Path = Path("orchestrator-data")
    """The data folder; made if it is missing."""
    database: str = ""
    """``postgresql://user:password@host:port/database``; the data folder is used where it is empty."""
    kafka: str = ""
    """``host:port`` of Kafka brokers, with commas: jobs go out and results come in there. Needs a database."""
    kafka_prefix: str = ""
    """Put before the names of Kafka topics and groups: for several installations on one cluster."""
    kafka_properties: dict[str, str] = {}
    """Any property of the native Kafka client (librdkafka), such as ``security.protocol``; but for those on which the
    promises rest."""
    kafka_password_file: str = ""
    """A file with the password of SASL, in place of the property ``sasl.password``."""
    kafka_routes: dict[str, Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,200}$")]] = {}
    """Actions whose jobs go to a topic of their own, and its name; workers have to know it too."""
    topics: Literal["auto", "check", "off"] = "auto"
    """Whether missing Kafka topics are made at the start, are an error, or are not looked for."""
    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 12
    """Partitions of a Kafka topic that is made at the start."""
    replication: Annotated[int, msgspec.Meta(ge=-1, le=100)] = -1
    """Copies of a Kafka topic that is made at the start; -1 takes the cluster's default."""
    redis: str = ""
    """``redis://user:password@host:port/number``, ``rediss://`` for TLS: answers repeated triggers, and tells the
    processes of ends of runs, sooner than the database. Needs a database."""
    redis_prefix: str = "orchestrator:"
    """Put before the names of Redis keys and channels: for several installations on one Redis."""
    roles: str = "api,engine,timers"
    """What this process does, with commas: ``api`` serves REST and pages, ``engine`` takes results and heartbeats,
    ``timers`` stands in line for what one process does for all."""
    start_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 60.0
    """How long a start waits for a database and a Kafka that do not answer yet."""
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 0.0
    """How long a process that was asked to go says so to health checks, and still serves, before it goes."""
    memory: bool = False
    """Keep everything in memory: nothing survives the process."""
    hosts: str = ""
    """Further names under which the server may be called, with commas; ``*`` takes any."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines that are shown."""
    failpoints: str = ""
    """Faults on purpose, for tests: ``name=action@nth``, with commas. Taken from the variable only."""
    limits: Limits = Limits()
    """The named maxima."""

    def __repr__(self) -> str:
        """Leave out what may be secret."""
        return f"Settings({self.host}:{self.port}, {self.place})"

    @property
    def names(self) -> frozenset[str] | None:
        """The names under which the server may be called; None when any will do."""
        given = frozenset(name.strip() for name in self.hosts.split(",") if name.strip())
        if "*" in given:
            return None
        if not self.is_local and not given:
            return None
        return given | LOCAL_HOSTS | {self.host}

    @property
    def role_set(self) -> frozenset[Role]:
        """The roles of this process.

        Raises:
            SettingsError: one is not known, or there is none.
        """
        given = [name.strip() for name in self.roles.split(",") if name.strip()]
        unknown = [name for name in given if name not in set(Role)]
        if unknown or not given:
            reason = f"there is no role {unknown[0]!r}" if unknown else "no role is named"
            raise SettingsError(f"roles: {reason}; choose from {', '.join(Role)}, with commas")
        return frozenset(Role(name) for name in given)

    @property
    def place(self) -> str:
        """Where everything is kept, without passwords."""
        if not self.database:
            return str(self.data)
        address = urlsplit(self.database)
        return f"PostgreSQL {address.hostname}:{address.port or 5432}{address.path}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOCAL_HOSTS


_VARIABLE_ONLY: Final = "failpoints"
_LIMITS: Final = frozenset(field.name for field in fields(Limits))
_SETTINGS: Final = frozenset(field.name for field in fields(Settings)) - {"limits"}


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None) -> Settings:
    """Put the settings together.

    Args:
        flags: from the command line; None means not given.
        environ: the environment.
        config_file: a TOML file; ``ORCHESTRATOR_CONFIG`` names one otherwise.

    Raises:
        SettingsError: a source cannot be read, or a setting is not known or wrong.
    """
    if config_file is None and _CONFIG in environ:
        config_file = Path(environ[_CONFIG])
    given = _Given()
    if config_file is not None:
        given.add_file(config_file)
    given.add_shared(environ)
    for variable, value in environ.items():
        if variable.startswith(_PROPERTY):
            given.add_property(
                properties.native_name(variable.removeprefix(_PROPERTY)), value, f"the variable {variable}"
            )
        elif variable.startswith(PREFIX) and variable not in _CLIENT_VARIABLES:
            given.add(variable.removeprefix(PREFIX).lower(), value, f"the variable {variable}")
    for name, flag in flags.items():
        if flag is not None:
            given.add(name, flag, f"the flag --{name.replace('_', '-')}")
    try:
        settings = msgspec.convert({**given.values, "limits": given.limits}, Settings, strict=False, dec_hook=_convert)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").removeprefix("limits.").partition("[")[0]
        raise SettingsError(f"{given.sources[name]}: {name} is wrong: {reason}") from None
    _check_together(settings)
    return _with_password(settings)


def _with_password(settings: Settings) -> Settings:
    """Read the password where a file has it."""
    if not settings.kafka_password_file:
        return settings
    try:
        password = Path(settings.kafka_password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"kafka_password_file: {settings.kafka_password_file} cannot be read: {type(error).__name__}"
        ) from None
    return replace(settings, kafka_properties={**settings.kafka_properties, "sasl.password": password})


def _check_together(settings: Settings) -> None:
    """Refuse settings that make no sense together."""
    limits = settings.limits
    if settings.database and not settings.database.startswith(("postgresql://", "postgres://")):
        raise SettingsError("database is no address of a PostgreSQL, such as postgresql://user:password@host/database")
    if settings.database and settings.memory:
        raise SettingsError("memory and database exclude each other: one keeps nothing, the other everything")
    if settings.kafka and limits.payload_bytes_max >= limits.kafka_record_bytes_max:
        raise SettingsError("payload_bytes_max is not below kafka_record_bytes_max: some jobs would fit into no record")
    if settings.kafka and not settings.database:
        raise SettingsError(
            "kafka needs a database: what goes through it is kept in PostgreSQL, where all processes see it"
        )
    try:
        Failpoints.parse(settings.failpoints)
    except FailpointsNotValid as error:
        raise SettingsError(f"failpoints: {error}") from None
    if settings.redis:
        _check_redis(settings)
    names = set(msgspec.structs.astuple(TOPICS))
    for action, topic in settings.kafka_routes.items():
        if topic in names:
            raise SettingsError(f"kafka_routes: {action} cannot have {topic} to itself: it has its use already")
    if settings.role_set != ALL_ROLES and not settings.kafka:
        missing = ", ".join(role for role in Role if role not in settings.role_set)
        where = "a PostgreSQL without Kafka" if settings.database else "a data folder"
        raise SettingsError(
            f"roles leaves out {missing}, and {where} has one process, which has to do everything; several processes "
            "share the work through --database and --kafka"
        )
    for less, more in (
        ("list_limit_default", "list_limit_max"),
        ("lease_seconds_default", "lease_seconds_max"),
    ):
        if getattr(limits, less) > getattr(limits, more):
            raise SettingsError(f"{less} is above {more}")


def _check_redis(settings: Settings) -> None:
    """Refuse an address that cannot be used, without repeating it: it may hold a password."""
    if not settings.database:
        raise SettingsError("redis needs a database: what it holds may be lost, and PostgreSQL has the truth")
    example = "such as redis://user:password@host:6379/0, or rediss:// for TLS"
    try:
        address = urlsplit(settings.redis)
        queries = parse_qs(address.query, strict_parsing=bool(address.query))
        port = address.port
    except ValueError:
        raise SettingsError(f"redis is no address, {example}") from None
    number = address.path.removeprefix("/")
    if address.scheme not in ("redis", "rediss") or not address.hostname or port == 0:
        raise SettingsError(f"redis is no address of a Redis, {example}")
    if number and not (number.isascii() and number.isdecimal()):
        raise SettingsError("redis names a database of Redis that is no number: the part after the last slash")
    unknown = sorted(queries.keys() - _REDIS_OPTIONS)
    if unknown or (queries and address.scheme != "rediss"):
        options = ", ".join(sorted(_REDIS_OPTIONS))
        raise SettingsError(f"redis has options that are not known; with rediss:// there are {options}")


def _convert(kind: type, value: object) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")


def _read_routes(text: str, source: str) -> dict[str, str]:
    """Read ``action=topic``, with commas between them."""
    routes: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        action, equals, topic = (part.strip() for part in pair.rpartition("="))
        if not (action and equals and topic):
            raise SettingsError(f"{source}: {pair!r} is not action=topic")
        routes[action] = topic
    return routes


class _Given:
    """What the sources say, later ones over earlier ones, and which of them said it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.limits: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add_file(self, path: Path) -> None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"the settings file {path} cannot be read: {error}") from None
        limits = content.pop("limits", {})
        if not isinstance(limits, dict):
            raise SettingsError(f"{path}: limits is no table")
        for name in limits:
            if name not in _LIMITS:
                raise SettingsError(f"{path}: there is no limit {name!r}; docs/limits.md lists them")
        table = content.pop("kafka_properties", {})
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: kafka_properties is no table")
        for name, value in table.items():
            self.add_property(name, value, str(path))
        if _VARIABLE_ONLY in content:
            raise SettingsError(f"{path}: {_VARIABLE_ONLY} can be set by ORCHESTRATOR_FAILPOINTS only: a file stays")
        for name, value in {**content, **limits}.items():
            self.add(name, value, str(path))

    def add_shared(self, environ: Mapping[str, str]) -> None:
        """Take the variables that workers and other programs have for Kafka too; empty ones say nothing."""
        for variable, native in properties.VARIABLES.items():
            if environ.get(variable):
                self.add_property(native, environ[variable], f"the variable {variable}")
        if environ.get(properties.PASSWORD_FILE):
            self.add("kafka_password_file", environ[properties.PASSWORD_FILE], "")
        for variable, value in environ.items():
            if variable.startswith(properties.VARIABLE_PREFIX):
                name = properties.native_name(variable.removeprefix(properties.VARIABLE_PREFIX))
                self.add_property(name, value, f"the variable {variable}")

    def add_property(self, name: str, value: object, source: str) -> None:
        """Take a property of the Kafka client; TOML has numbers and booleans too."""
        if (why := properties.refusal(name)) is not None:
            raise SettingsError(f"{source}: {why}")
        if not isinstance(value, str | int | float):
            raise SettingsError(f"{source}: the Kafka property {name} is neither text, number nor boolean")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        self.values.setdefault("kafka_properties", {})[name] = text
        self.sources["kafka_properties"] = source

    def add(self, name: str, value: object, source: str) -> None:
        if name in _LIMITS:
            self.limits[name] = value
        elif name == _ROUTES and isinstance(value, str):
            self.values[name] = _read_routes(value, source)
        elif name in _SETTINGS:
            self.values[name] = str(value) if isinstance(value, Path) else value
        else:
            raise SettingsError(f"{source}: there is no setting {name!r}; docs/configuration.md lists them")
        self.sources[name] = source
