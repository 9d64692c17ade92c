"""The drawings of a set of runs: which curves go into which file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openmaas.simulation.plot import Curve, lines
from openmaas.simulation.report import Report


def plots(reports: Sequence[Report]) -> dict[str, str]:
    """SVG by file name: over the number of replicas where there are several; how times to the first token spread, on
    the largest number; and each tenant's, where somebody floods."""
    found = {}
    plain = [each for each in reports if not each.flooded and each.ttft_s_percentiles]
    sizes = sorted({each.replicas for each in plain})
    if len(sizes) > 1:
        hits = _over_replicas(plain, lambda each: each.hit_rate)
        if hits:
            ideal = next(each.hit_rate_ideal for each in plain if each.hit_rate_ideal is not None)
            hits.append(Curve("one cache without bounds", sizes, [ideal] * len(sizes), dotted=True))
            found["hits.svg"] = lines(hits, x="replicas", y="share of blocks cached", log_x=True, from_zero=True)
        late = _over_replicas(plain, lambda each: each.ttft_s(99))
        found["ttft.svg"] = lines(late, x="replicas", y="time to first token, p99 (s)", log_x=True, log_y=True)
    last = [each for each in plain if each.replicas == sizes[-1]]
    if last:
        spreads = [Curve(_name(each), each.ttft_s_percentiles, list(range(101))) for each in last]
        found["spread.svg"] = lines(spreads, x="time to first token (s)", y="requests (%)", log_x=True)
    if any(each.flooded for each in reports):
        found["tenants.svg"] = lines(_tenants(reports), x="tenant", y="time to first token, p99 (s)", log_y=True)
    return found


def _over_replicas(reports: Sequence[Report], figure: Callable[[Report], float | None]) -> list[Curve]:
    by: dict[str, list[tuple[int, float]]] = {}
    for each in reports:
        value = figure(each)
        if value is not None:
            by.setdefault(_name(each), []).append((each.replicas, value))
    return [_curve(name, sorted(points)) for name, points in by.items()]


def _tenants(reports: Sequence[Report]) -> list[Curve]:
    curves = []
    for each in reports:
        rows = [(number, row.ttft_s_p99) for number, row in enumerate(each.tenants, 1) if row.ttft_s_p99 is not None]
        name = f"{_name(each)}, {'flooded' if each.flooded else 'alone'}"
        curves.append(_curve(name, rows, dotted=not each.flooded))
    return curves


def _curve(name: str, points: Sequence[tuple[float, float]], *, dotted: bool = False) -> Curve:
    return Curve(name, [x for x, _ in points], [y for _, y in points], dotted)


def _name(report: Report) -> str:
    return f"{report.policy}, {report.queue}"
