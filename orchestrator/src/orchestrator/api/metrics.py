"""What a process counts, for Prometheus. Read when it is asked for; nothing here runs otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from falcon.asgi import Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.api import http
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.tally import Distribution
from orchestrator.model.role import Duty

CONTENT: str = "text/plain; version=0.0.4; charset=utf-8"
Requests = Counter[tuple[str, str, str]]
"""Requests by method, route and status."""


class Metrics:
    """``/metrics``"""

    def __init__(self, orchestrator: Orchestrator, requests: Requests) -> None:
        # Of its own: the library's registry is one for all that a process may hold.
        self._registry = CollectorRegistry()
        self._registry.register(_Counts(orchestrator, requests))
        ProcessCollector(registry=self._registry)

    async def on_get(self, req: Request, resp: Response) -> None:
        """Give all metrics of this process."""
        http.check_parameters(req, ())
        resp.content_type = CONTENT
        resp.data = generate_latest(self._registry)


class _Counts(Collector):
    def __init__(self, orchestrator: Orchestrator, requests: Requests) -> None:
        self._orchestrator = orchestrator
        self._requests = requests

    def describe(self) -> Iterator[Metric]:
        """Give nothing: what there is is found out at each look."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector.collect`."""
        yield from self._work()
        yield from self._surroundings()

    def _work(self) -> Iterator[Metric]:
        pipeline = self._orchestrator.pipeline
        tally = pipeline.tally
        events = CounterMetricFamily("orchestrator_events", "Events that became durable, by kind", labels=["event"])
        for kind, count in tally.events.items():
            events.add_metric([kind.__name__], count)
        yield events
        yield _histogram("orchestrator_batch_requests", "Requests of a transaction", tally.sizes)
        yield _histogram("orchestrator_batch_seconds", "Time of a transaction, its commit included", tally.seconds)
        yield CounterMetricFamily("orchestrator_batches_failed", "Transactions that failed", value=tally.failed)
        yield GaugeMetricFamily("orchestrator_requests_waiting", "Requests that wait for one", value=pipeline.waiting)
        served = CounterMetricFamily(
            "orchestrator_http_requests", "Requests answered over HTTP", labels=["method", "route", "status"]
        )
        for labels, count in self._requests.items():
            served.add_metric(list(labels), count)
        yield served

    def _surroundings(self) -> Iterator[Metric]:
        life = self._orchestrator.life
        duties = GaugeMetricFamily("orchestrator_duty", "Whether this process has a duty", labels=["duty"])
        for duty in Duty:
            duties.add_metric([duty], float(life.timers.duties.has(duty)))
        yield duties
        now_on = self._orchestrator.clock.monotonic()
        workers = GaugeMetricFamily("orchestrator_http_workers", "Workers over HTTP by status", labels=["status"])
        for status, count in Counter(one.status(now_on) for one in life.gateway.workers.all()).items():
            workers.add_metric([status], count)
        yield workers
        rejected = CounterMetricFamily(
            "orchestrator_records_rejected", "Records of the broker that changed nothing, by reason", labels=["reason"]
        )
        for reason, count in () if life.incoming is None else life.incoming.rejected.items():
            rejected.add_metric([reason], count)
        yield rejected


def _histogram(name: str, meaning: str, counted: Distribution) -> HistogramMetricFamily:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, counted.bounds), "+Inf"), counted.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=counted.sum)
