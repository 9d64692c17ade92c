"""Counters of one relay, as plain integers; Prometheus' text form is made only when somebody asks for it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from openmaas.ledger.records import Closed

#: Upper ends in seconds, as the OpenTelemetry convention for generative AI clients has them.
BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class Histogram:
    """Counts of durations by bucket."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_ms = 0

    def add(self, ms: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, ms / 1000)] += 1
        self.sum_ms += ms


class Metrics(Collector):
    """What happened on this relay since it started. ``gauges`` are asked when somebody scrapes."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges
        self._requests: dict[tuple[str, str], int] = defaultdict(int)
        self._tokens: dict[tuple[str, str], int] = defaultdict(int)
        self._charged: dict[str, int] = defaultdict(int)
        self._refused: dict[str, int] = defaultdict(int)
        self._first_byte: dict[str, Histogram] = defaultdict(Histogram)
        self._duration: dict[str, Histogram] = defaultdict(Histogram)

    def closed(self, record: Closed) -> None:
        """Count a request that reached an engine."""
        opened, usage = record.opened, record.usage
        model = opened.model
        self._requests[model, record.outcome] += 1
        self._tokens[model, "prompt"] += usage.prompt_tokens
        self._tokens[model, "cached"] += usage.cached_tokens
        self._tokens[model, "completion"] += usage.completion_tokens
        self._charged[opened.currency] += record.amount_nanos
        self._first_byte[model].add(record.first_byte_ms)
        self._duration[model].add(record.closed_ms - opened.opened_ms)

    def refused(self, code: str) -> None:
        """Count a refusal by its code."""
        self._refused[code] += 1

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Part of prometheus_client's ``Collector``."""
        counters = (
            ("requests", "Requests that reached an engine.", ("model", "outcome"), self._requests),
            ("tokens", "Tokens by kind; cached ones are part of the prompt.", ("model", "kind"), self._tokens),
            ("charged_nanos", "Charged nano-units.", ("currency",), self._charged),
            ("refused", "Requests refused, by error code.", ("code",), self._refused),
        )
        for name, text, labels, counts in counters:
            counter = CounterMetricFamily(f"openmaas_{name}", text, labels=labels)
            for key, value in counts.items():
                counter.add_metric(key if isinstance(key, tuple) else (key,), value)
            yield counter
        for name, text, histograms in (
            ("first_byte_seconds", "From opening to the engine's first byte.", self._first_byte),
            ("duration_seconds", "From opening to closing.", self._duration),
        ):
            family = HistogramMetricFamily(f"openmaas_{name}", text, labels=("model",))
            for model, histogram in histograms.items():
                family.add_metric((model,), _cumulated(histogram), histogram.sum_ms / 1000)
            yield family
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(f"openmaas_{name}", text, read())


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    total, found = 0, []
    for end, count in zip((*map(str, BUCKETS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((end, float(total)))
    return found
