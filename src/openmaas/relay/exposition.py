"""The counts of all relays of a house as one page in Prometheus' text format, each line with its relay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from openmaas.relay.metrics import BUCKETS_S, Counts, Histogram
from openmaas.work.counts import Counts as JobCounts

_COUNTERS = (
    ("requests", "Requests that reached an engine.", ("model", "outcome")),
    ("tokens", "Tokens by kind; cached ones are part of the prompt.", ("model", "kind")),
    ("charged_nanos", "Charged nano-units.", ("currency",)),
    ("refused", "Requests refused, by error code.", ("code",)),
)
_HISTOGRAMS = (
    ("first_byte", "From opening to the engine's first byte."),
    ("duration", "From opening to closing."),
)
_GAUGES = (
    ("running", "Requests at an engine."),
    ("waiting", "Requests waiting for an engine."),
    ("connections", "Open client connections."),
)
Line = tuple[tuple[str, ...], int]


def exposition(relays: Mapping[str, Counts | None], jobs: JobCounts | None) -> bytes:
    """The page. A relay that did not answer is None, and ``openmaas_relay_up`` says so; the worker likewise."""
    registry = CollectorRegistry()
    registry.register(_Page(relays))
    registry.register(_Jobs(jobs))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, relays: Mapping[str, Counts | None]) -> None:
        self._relays = relays
        self._counts = {relay: counts for relay, counts in relays.items() if counts is not None}

    def collect(self) -> Iterator[Metric]:
        """Part of prometheus_client's ``Collector``."""
        up = GaugeMetricFamily("openmaas_relay_up", "1 when the relay told its counts.", labels=("relay",))
        for relay, counts in self._relays.items():
            up.add_metric((relay,), float(counts is not None))
        yield up
        for name, text, labels in _COUNTERS:
            counter = CounterMetricFamily(f"openmaas_{name}", text, labels=("relay", *labels))
            for relay, counts in self._counts.items():
                for values, count in _lines(name, counts):
                    counter.add_metric((relay, *values), count)
            yield counter
        for name, text in _HISTOGRAMS:
            family = HistogramMetricFamily(f"openmaas_{name}_seconds", text, labels=("relay", "model"))
            for relay, counts in self._counts.items():
                for model, counted in counts.models.items():
                    histogram: Histogram = getattr(counted, name)
                    family.add_metric((relay, model), _cumulated(histogram), histogram.sum_ms / 1000)
            yield family
        for name, text in _GAUGES:
            gauge = GaugeMetricFamily(f"openmaas_{name}", text, labels=("relay",))
            for relay, counts in self._counts.items():
                gauge.add_metric((relay,), counts.gauges[name])
            yield gauge


class _Jobs(Collector):
    def __init__(self, counts: JobCounts | None) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Part of prometheus_client's ``Collector``."""
        up, counts = float(self._counts is not None), self._counts or JobCounts()
        yield GaugeMetricFamily("openmaas_jobs_up", "1 when the worker told its counts.", value=up)
        standing = GaugeMetricFamily(
            "openmaas_jobs", "Jobs of all hosts that have not ended.", labels=("kind", "state")
        )
        for kind, how, count in counts.open:
            standing.add_metric((kind, how), count)
        yield standing
        ended = CounterMetricFamily("openmaas_jobs_ended", "Jobs that this host ended.", labels=("kind", "state"))
        for kind, state, count in counts.ended:
            ended.add_metric((kind, state), count)
        yield ended
        lines = CounterMetricFamily("openmaas_batch_lines", "Lines of batches that this host ended.", labels=("how",))
        for how, count in counts.lines.items():
            lines.add_metric((how,), count)
        yield lines


def _lines(name: str, counts: Counts) -> Iterator[Line]:
    if name == "requests":
        for model, counted in counts.models.items():
            for outcome, count in counted.requests.items():
                yield (model, outcome), count
    elif name == "tokens":
        for model, counted in counts.models.items():
            yield (model, "prompt"), counted.prompt_tokens
            yield (model, "cached"), counted.cached_tokens
            yield (model, "completion"), counted.completion_tokens
    else:
        by_label: dict[str, int] = getattr(counts, name)
        for label, count in by_label.items():
            yield (label,), count


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    total, found = 0, []
    for end, count in zip((*map(str, BUCKETS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((end, float(total)))
    return found
