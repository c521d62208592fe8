"""What a process counts, for Prometheus. Read when it is asked for; nothing here runs otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from falcon.asgi import Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.api import http
from orchestrator.api.families import Labelled, counter, gauge, histogram
from orchestrator.api.served import Served
from orchestrator.app.figures import Shared
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.event import AttemptFailed, AttemptLost, AttemptReleased, StepCompleted
from orchestrator.model.role import Duty
from orchestrator.model.times import MICROS
from orchestrator.ports.broker import BrokerReport, Lags
from orchestrator.ports.hints import Condition, HintsReport
from orchestrator.ports.queries import Counts

CONTENT: str = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """``/metrics``"""

    def __init__(self, orchestrator: Orchestrator, served: Served) -> None:
        self._orchestrator = orchestrator
        self._served = served
        # Of its own: the library's registry is one for all that a process may hold.
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    async def on_get(self, req: Request, resp: Response) -> None:
        """Give all metrics of this process."""
        http.check_parameters(req, ())
        resp.content_type = CONTENT
        resp.data = await write(self._orchestrator, self._served) + generate_latest(self._process)


async def write(orchestrator: Orchestrator, served: Served) -> bytes:
    """Write down what this process and the parts that it stands on say now."""
    registry = CollectorRegistry()
    registry.register(_Figures(orchestrator, served, await orchestrator.life.figures.look()))
    return generate_latest(registry)


class _Figures(Collector):
    """All of it as it is now. What a process does not have is named all the same, without a number."""

    def __init__(self, orchestrator: Orchestrator, served: Served, shared: Shared) -> None:
        self._orchestrator = orchestrator
        self._life = orchestrator.life
        self._served = served
        self._shared = shared

    def describe(self) -> Iterator[Metric]:
        """Give nothing: what there is is found out at each look."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector.collect`."""
        yield from self._decided()
        yield from self._answered()
        yield from self._parts()
        yield from _open(self._shared.counts, self._orchestrator.clock.now())
        yield from self._handed_over()
        yield from _behind(self._shared.lags)
        yield from _hinted(self._life.hints.report if self._life.hints is not None else None)

    def _decided(self) -> Iterator[Metric]:
        pipeline = self._orchestrator.pipeline
        tally = pipeline.tally
        events = tally.events
        yield counter(
            "orchestrator_events",
            "Events that became durable",
            ("event",),
            (((kind.__name__,), count) for kind, count in events.items()),
        )
        ended = {
            "completed": events[StepCompleted],
            "failed": events[AttemptFailed] - tally.timed_out,
            "timed-out": tally.timed_out,
            "lost": events[AttemptLost],
            "released": events[AttemptReleased],
        }
        yield counter("orchestrator_attempts_ended", "Attempts that ended, by how", ("outcome",), _named(ended))
        yield counter(
            "orchestrator_retries", "Attempts that ended badly and have another after them", (), [((), tally.retries)]
        )
        yield histogram("orchestrator_batch_requests", "Requests of a transaction", (), {(): tally.sizes})
        yield histogram(
            "orchestrator_batch_seconds", "Time of a transaction, its commit included", (), {(): tally.seconds}
        )
        yield counter("orchestrator_batches_failed", "Transactions that failed", (), [((), tally.failed)])
        yield counter(
            "orchestrator_batches_decided_again", "Transactions that another process crossed", (), [((), tally.again)]
        )
        yield gauge("orchestrator_requests_waiting", "Requests that wait for one", (), [((), pipeline.waiting)])

    def _answered(self) -> Iterator[Metric]:
        yield counter(
            "orchestrator_http_requests",
            "Requests answered over HTTP",
            ("method", "route", "status"),
            self._served.requests.items(),
        )
        yield histogram(
            "orchestrator_http_request_seconds",
            "Time to answer, without what was waited on purpose",
            ("method", "route"),
            self._served.seconds,
        )

    def _parts(self) -> Iterator[Metric]:
        life = self._life
        parts = {"database": self._shared.counts is not None}
        if life.figures.broker is not None:
            parts["kafka"] = self._shared.lags is not None
        if life.hints is not None:
            parts["redis"] = life.hints.report.condition == "up"
        yield gauge("orchestrator_part_up", "Whether a part answers", ("part",), _named(parts))
        duties = {str(duty): life.timers.duties.has(duty) for duty in Duty}
        yield gauge("orchestrator_duty", "Whether this process has a duty", ("duty",), _named(duties))
        workers = (((one, status), count) for (one, status), count in self._shared.workers.items())
        yield gauge("orchestrator_workers", "Workers of all processes", ("transport", "status"), workers)
        report = self._orchestrator.store_report()
        yield gauge(
            "orchestrator_database_connections",
            "Connections to the database",
            ("use", "state"),
            (
                ((use, state), number)
                for use, one in report.connections.items()
                for state, number in (("used", one.in_use), ("idle", one.open - one.in_use), ("most", one.most))
            ),
        )
        yield gauge(
            "orchestrator_database_waiting",
            "Callers that wait for a connection",
            ("use",),
            (((use,), one.waiting) for use, one in report.connections.items()),
        )
        yield gauge("orchestrator_database_bytes", "Size of the data folder's files", ("file",), _named(report.bytes))

    def _handed_over(self) -> Iterator[Metric]:
        life = self._life
        report = None if life.figures.broker is None else life.figures.broker.report
        yield from _under_way(report)
        resent: Counter[str] = Counter()
        refused: list[tuple[tuple[str, ...], float]] = []
        if life.outgoing is not None:
            resent.update({"unacknowledged": 0, "misplaced": 0, **life.outgoing.resent})
            refused.append(((), life.outgoing.refused))
        if life.broker_leases is not None:
            resent["lost"] = life.broker_leases.lost
        yield counter("orchestrator_jobs_resent", "Jobs handed to Kafka again", ("reason",), _named(resent))
        yield counter("orchestrator_jobs_refused", "Jobs that are too large for Kafka", (), refused)
        rejected = Counter[str]() if life.incoming is None else life.incoming.rejected
        yield counter(
            "orchestrator_records_rejected",
            "Records of the broker that changed nothing, by reason",
            ("reason",),
            _named(rejected),
        )


def _open(counts: Counts | None, now: int) -> Iterator[Metric]:
    """Tell what is open in the database."""
    jobs = {} if counts is None else _plain(counts.jobs)
    yield gauge("orchestrator_jobs_open", "Jobs that are not over", ("state",), _named(jobs))
    ages: Labelled = ()
    letters: Labelled = ()
    if counts is not None:
        since = now if counts.oldest_pending is None else counts.oldest_pending
        ages = [((), max(0.0, (now - since) / MICROS))]
        letters = [((), counts.dead_letters)]
    yield gauge("orchestrator_job_pending_seconds", "How long the oldest pending job waits", (), ages)
    runs = {} if counts is None else _plain(counts.runs)
    yield gauge("orchestrator_runs_open", "Runs that have not ended", ("status",), _named(runs))
    yield gauge("orchestrator_dead_letters_open", "Dead letters that wait for a person", (), letters)


def _under_way(report: BrokerReport | None) -> Iterator[Metric]:
    """Tell what was handed to Kafka."""
    records: Labelled = ()
    size: Labelled = ()
    outcomes: dict[str, float] = {}
    if report is not None:
        records, size = [((), report.records_waiting)], [((), report.bytes_waiting)]
        outcomes = {"acknowledged": report.acknowledged, "failed": report.failed}
    yield gauge("orchestrator_kafka_records_waiting", "Records that Kafka has not acknowledged yet", (), records)
    yield gauge("orchestrator_kafka_bytes_waiting", "Bytes of these records", (), size)
    yield counter("orchestrator_kafka_records", "Records handed to Kafka", ("outcome",), _named(outcomes))


def _behind(lags: Lags | None) -> Iterator[Metric]:
    """Tell what readers of Kafka have before them."""
    incoming = {} if lags is None else {"results": lags.results, "heartbeats": lags.heartbeats}
    yield gauge("orchestrator_kafka_lag", "Records that the orchestrator has before it", ("topic",), _named(incoming))
    jobs = {} if lags is None else lags.jobs
    yield gauge("orchestrator_kafka_action_lag", "Records before an action's workers", ("action",), _named(jobs))


def _hinted(report: HintsReport | None) -> Iterator[Metric]:
    """Tell what was done with Redis."""
    states: dict[str, float] = {}
    outcomes: dict[str, float] = {}
    if report is not None:
        states = {state: state == report.condition for state in get_args(Condition)}
        names = ("hits", "misses", "forged", "kept", "told", "heard", "dropped", "errors")
        outcomes = {name: getattr(report, name) for name in names}
    yield gauge("orchestrator_redis_state", "Which state Redis is in", ("state",), _named(states))
    yield counter("orchestrator_redis_hints", "What was done with hints", ("outcome",), _named(outcomes))


def _plain(found: Mapping[Any, float]) -> dict[str, float]:
    return {str(name): number for name, number in found.items()}


def _named(found: Mapping[str, float]) -> Labelled:
    return (((name,), number) for name, number in found.items())
