"""What was found of a checkpoint stays beside it, row by row."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openglm.errors import Refused
from openglm.evaluate.results import keep, kept, table
from openglm.version import VERSION
from openmaas.core import version


def test_a_row_says_what_was_asked_what_was_found_when_and_by_which_version(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    keep(tmp_path, "likelihood", {"data": "poems"}, {"nats": 3.25})
    keep(tmp_path, "infilling", {"texts": 8}, {"exact": 0.5, "of_one": {"2": 0.75}})
    first, second = kept(tmp_path)
    assert (first.name, first.asked, first.figures) == ("likelihood", {"data": "poems"}, {"nats": 3.25})
    assert second.figures == {"exact": 0.5, "of_one": {"2": 0.75}}
    assert abs(datetime.fromisoformat(first.when) - before) < timedelta(minutes=1)
    assert first.version == VERSION == version.VERSION
    assert isinstance(json.loads((tmp_path / "evaluations.json").read_text()), list)
    assert "nats  3.2500" in table([first])
    assert "texts 8" in table([second])


def test_who_writes_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda number: keep(tmp_path, "one", {"number": number}, {}), range(24)))
    assert sorted(row.asked["number"] for row in kept(tmp_path)) == list(range(24))


def test_nothing_was_found_where_nothing_was_asked(tmp_path: Path) -> None:
    assert kept(tmp_path) == []


def test_what_is_no_figure_is_refused_and_the_rows_before_it_stay(tmp_path: Path) -> None:
    keep(tmp_path, "one", {}, {"nats": 1.0})
    with pytest.raises(Refused, match="two"):
        keep(tmp_path, "two", {}, {"nats": float("inf")})
    assert [row.name for row in kept(tmp_path)] == ["one"]


def test_a_broken_file_and_a_missing_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nowhere"):
        keep(tmp_path / "nowhere", "one", {}, {})
    (tmp_path / "evaluations.json").write_text("[{]")
    with pytest.raises(Refused, match=r"evaluations\.json"):
        kept(tmp_path)
