"""Every limit of the orchestrator, by name.

Each is a setting: ``ORCHESTRATOR_<NAME>`` in the environment, or ``<name>`` in the TOML file's ``[limits]`` table.
Sizes are bytes, times seconds. ``docs/limits.md`` lists the same names; a test compares the two.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0)]
"""0 stands for no limit."""

KIB = 1024
MIB = 1024 * KIB


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The named maxima; immutable for the life of a process."""

    # What comes in
    request_bytes_max: Count = 16 * MIB
    """Body of one request of any kind; beyond it 413."""
    request_head_bytes_max: Count = 256 * KIB
    """Line and headers of one request, as far as they are gathered; beyond it 431."""
    payload_bytes_max: Count = 2 * MIB
    """A run's input, or a step's result."""
    definition_bytes_max: Count = 512 * KIB
    """A workflow definition as sent."""
    definition_steps_max: Count = 1_000
    """Steps of one workflow."""
    json_depth_max: Count = 64
    """Nesting of arrays and objects in any JSON that comes in."""
    json_number_digits_max: Count = 1_000
    """Digits in a row in a JSON number: what the JSON readers of all SDKs still take exactly."""
    id_length_max: Count = 128
    """Characters of a workflow id, an action or a worker id."""
    idempotency_key_length_max: Count = 255
    """Characters of an Idempotency-Key."""
    tracestate_chars_max: Count = 512
    """Characters of a trigger's ``tracestate``; what is beyond them is left out, whole members at a time."""
    error_message_chars_max: Count = 8 * KIB
    """A reported error's message; the rest is cut off."""
    error_stack_chars_max: Count = 16 * KIB
    """A reported error's stack; the rest is cut off."""
    heartbeat_details_bytes_max: Count = 16 * KIB
    """Details of one heartbeat of one job; larger ones are dropped and the job lives on."""

    # What waits
    commands_waiting_max: Count = 50_000
    """Requests waiting for the next commit; beyond it 503 with Retry-After."""
    ready_jobs_max: Count = 100_000
    """Jobs the in-process broker holds in memory; further ones wait in the store."""
    ready_bytes_max: Count = 256 * MIB
    """Payload bytes the in-process broker holds in memory; further jobs wait in the store."""
    batch_commands_max: Count = 2_000
    """Commands in one transaction."""
    open_runs_cached_max: Count = 50_000
    """Open runs whose state is kept in memory; the others are read when they are needed."""

    completed_runs_cached_max: Count = 500
    """Completed runs that were just read and are remembered for five seconds: many may ask for one and the same."""

    # What goes out
    list_limit_default: Count = 100
    """Entries of a list page when the request does not say."""
    list_limit_max: Count = 500
    """Entries of a list page at most."""
    letters_per_call_max: Count = 1_000
    """Dead letters that one call redrives or discards; it says where the next one goes on."""
    list_bytes_max: Count = 8 * MIB
    """Payload bytes of a list page; the page ends early beyond it."""
    wait_seconds_max: Seconds = 60.0
    """How long a request may wait for a run or a job."""
    waits_open_max: Count = 20_000
    """Requests waiting for a run at one time; beyond it 503."""

    # Other processes, and Redis
    watch_seconds: Seconds = 0.25
    """How often runs that callers wait for here are looked up in the database, where another process may have ended
    them and nobody tells."""
    watch_told_seconds: Seconds = 1.0
    """The same while Redis tells which runs have ended: what it told is looked up at once."""
    redis_seconds_max: Seconds = 0.1
    """How long Redis may take to answer; beyond it PostgreSQL does its work."""
    redis_connect_seconds_max: Seconds = 1.0
    """How long it may take to connect to Redis; nobody waits for that."""
    redis_rest_seconds: Seconds = 1.0
    """How long Redis is left alone after a failure, and how often it is asked how it is."""

    # Kafka
    kafka_call_seconds: Seconds = 10.0
    """How long Kafka may take to answer a question, such as how far a group has read."""
    kafka_delivery_seconds: Annotated[float, msgspec.Meta(ge=1)] = 30.0
    """How long Kafka may take to acknowledge a job, before the client gives it up."""
    kafka_resend_seconds: Annotated[float, msgspec.Meta(ge=1)] = 5.0
    """How long a job is one process's to bring to Kafka; then another may, if that process does not know that it is
    there. The same process does not try again before it was given up."""
    kafka_record_bytes_max: Count = 8 * MIB
    """The largest record that is written, and `max.message.bytes` of topics that are made: more than
    ``payload_bytes_max``, with all that is around a payload."""
    kafka_records_max: Count = 2_000
    """Results, or signs of life, taken from Kafka at a time; they share a transaction."""

    # Metrics
    metrics_seconds: Seconds = 10.0
    """How long it is good for what the database and Kafka were asked for metrics; more often they are not asked."""
    metrics_rows_max: Count = 10_000
    """Open jobs, with their runs, and dead letters that metrics count: as large a number means so many or more."""
    metrics_actions_max: Count = 100
    """Actions of which metrics say how many records their workers have before them; those with jobs out come first."""

    # Workers
    workers_max: Count = 10_000
    """Registered workers, gone ones included until they are forgotten."""
    worker_forget_seconds: Seconds = 900.0
    """How long a worker that went away stays in the list."""
    worker_presence_seconds: Seconds = 30.0
    """How long a worker counts as there, for other processes, after the last word of the one that knows it. A quarter
    of it after a word the next one is due."""
    in_hand_listed_max: Count = 10_000
    """Jobs in workers' hands that are read for one list of workers; those beyond are not shown."""
    actions_per_worker_max: Count = 1_000
    """Actions in one registration."""
    jobs_per_call_max: Count = 1_000
    """Jobs handed out in one exchange."""
    job_bytes_per_call_max: Count = 16 * MIB
    """Bytes of the jobs handed out in one exchange, unless a single one has more; the others come with the next. An SDK
    takes an answer of 64 MiB."""
    results_per_call_max: Count = 1_000
    """Results taken in one exchange."""
    lease_seconds_default: Seconds = 30.0
    """How long a job stays a worker's without a sign of life."""
    lease_seconds_max: Seconds = 3_600.0
    """The longest lease a worker may ask for."""
    lost_attempts_max: Count = 3
    """Attempts of one step that may be retried after they were lost with their worker; one more is dead-lettered.
    A policy with fewer ``maxRetries`` lowers it."""
    feed_actions_max: Count = 100
    """Actions whose jobs one process reads from a broker for its workers over HTTP: each is one consumer. A worker
    that would bring more along is refused."""
    feed_idle_seconds: Seconds = 30.0
    """How long a process reads the jobs of an action from a broker after its last worker over HTTP asked for some."""
    max_retries_max: Count = 10_000
    """The largest ``maxRetries`` a policy may ask for."""
    duration_seconds_max: Seconds = 366 * 86_400.0
    """The longest duration a definition may name."""

    # What is kept
    idempotency_seconds: Seconds = 86_400.0
    """How long an Idempotency-Key is remembered."""
    runs_kept_seconds: SecondsOrNone = 0.0
    """How long a run is kept after its end, with its history; 0 keeps every run for ever. A run with an open dead
    letter stays until that is settled. Best no shorter than ``idempotency_seconds``: a key may outlive its run
    otherwise."""
    cleaning_seconds: Seconds = 60.0
    """How often keys, runs and workers are looked for that were kept long enough; all there are then go, a few at a
    time."""
