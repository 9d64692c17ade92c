"""Counters of one relay, as plain numbers that can be sent to another. ``exposition.py`` makes text of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

import msgspec

from openmaas.ledger.writing.records import Closed

#: Upper ends in seconds, as the OpenTelemetry convention for generative AI clients has them.
BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class Histogram(msgspec.Struct):
    """Counts of durations by bucket."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_ms: int = 0

    def add(self, ms: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, ms / 1000)] += 1
        self.sum_ms += ms


class OfModel(msgspec.Struct):
    """What is counted for one model; requests by outcome."""

    requests: dict[str, int] = {}
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_byte: Histogram = msgspec.field(default_factory=Histogram)
    duration: Histogram = msgspec.field(default_factory=Histogram)


class Counts(msgspec.Struct):
    """All that one relay counted since it started: nano-units by currency, refusals by code, gauges by name."""

    models: dict[str, OfModel] = {}
    charged_nanos: dict[str, int] = {}
    refused: dict[str, int] = {}
    gauges: dict[str, float] = {}


class Metrics:
    """What happens on this relay. ``gauges`` are asked when somebody wants to know."""

    def __init__(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        self._gauges = gauges
        self._counts = Counts()

    def closed(self, record: Closed) -> None:
        """Count a request that reached an engine."""
        opened, usage, counts = record.opened, record.usage, self._counts
        model = counts.models.get(opened.model)
        if model is None:
            model = counts.models[opened.model] = OfModel()
        model.requests[record.outcome] = model.requests.get(record.outcome, 0) + 1
        model.prompt_tokens += usage.prompt_tokens
        model.cached_tokens += usage.cached_tokens
        model.completion_tokens += usage.completion_tokens
        model.first_byte.add(record.first_byte_ms)
        model.duration.add(record.closed_ms - opened.opened_ms)
        for leg, paid in zip(opened.legs, record.paid_nanos, strict=True):
            counts.charged_nanos[leg.currency] = counts.charged_nanos.get(leg.currency, 0) + paid

    def refused(self, code: str) -> None:
        """Count a refusal by its code."""
        self._counts.refused[code] = self._counts.refused.get(code, 0) + 1

    def now(self) -> Counts:
        """The counts as they stand."""
        self._counts.gauges = {name: read() for name, read in self._gauges.items()}
        return self._counts
