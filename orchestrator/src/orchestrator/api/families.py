"""Metrics in the form that the library writes down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from orchestrator.app.tally import Distribution

Labelled = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels, and the number."""
_Family = TypeVar("_Family", CounterMetricFamily, GaugeMetricFamily)


def counter(name: str, meaning: str, labels: tuple[str, ...], found: Labelled) -> CounterMetricFamily:
    """Make a counter; ``_total`` is added to its name."""
    return _with(CounterMetricFamily(name, meaning, labels=labels), found)


def gauge(name: str, meaning: str, labels: tuple[str, ...], found: Labelled) -> GaugeMetricFamily:
    """Make a gauge."""
    return _with(GaugeMetricFamily(name, meaning, labels=labels), found)


def histogram(
    name: str, meaning: str, labels: tuple[str, ...], found: Mapping[tuple[str, ...], Distribution]
) -> HistogramMetricFamily:
    """Make a histogram."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values, counted in found.items():
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, counted.bounds), "+Inf"), counted.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(values, buckets, counted.sum)
    return family


def _with(family: _Family, found: Labelled) -> _Family:
    for values, number in found:
        family.add_metric(values, number)
    return family
