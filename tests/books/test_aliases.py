"""What a customer means by a name that is no model's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmaas.catalog.aliases import list_aliases, remove_alias, set_alias
from openmaas.catalog.book import Model, add_model
from openmaas.catalog.face import offers
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, ModelUnknown, ThingUnknown
from openmaas.store.database import Database
from servers import STORES, new_database

#: What is asked for, and which model answers; the patterns below are in force.
ASKED = {
    "glm-4.7": "glm-4.7",
    "GLM-4.7": "glm-4.7",
    "glm-4.7[1m]": "glm-4.7",
    "qwen": "Qwen",
    "claude-sonnet-5-20261001": "glm-4.7",
    "Claude-Sonnet-5[1M]": "glm-4.7",
    "claude-haiku-5": "glm-4.5-air",
    "claude-haiku-5-20261001": "Qwen",
    "claude": None,
    "gpt-7": None,
    "": None,
}
ALIASES = {"claude-*": "glm-4.7", "claude-haiku-*": "Qwen", "Claude-Haiku-5": "glm-4.5-air", "glm-4.7": "Qwen"}


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made = new_database(request.param, tmp_path)
    for name in ("glm-4.7", "glm-4.5-air", "Qwen"):
        made.call(add_model, Model(name, "generate", 8, 8, "", 0))
    yield made
    made.close()


def test_a_name_means_the_model_of_this_name_or_the_longest_pattern(database: Database) -> None:
    for pattern, model in ALIASES.items():
        database.call(set_alias, Clock(), pattern, model)
    found = database.look(offers)
    for asked, model in ASKED.items():
        meant = found.find(asked, "org_anybody")
        assert (meant.name if meant else None) == model, asked


def test_a_pattern_names_one_model_until_it_is_removed(database: Database) -> None:
    for model in ("Qwen", "glm-4.7"):
        database.call(set_alias, Clock(), "claude-*", model)
    assert [(alias.pattern, alias.model) for alias in database.look(list_aliases)] == [("claude-*", "glm-4.7")]
    database.call(remove_alias, "CLAUDE-*")
    assert database.look(list_aliases) == []
    with pytest.raises(ThingUnknown):
        database.call(remove_alias, "claude-*")


@pytest.mark.parametrize("pattern", ["", " ", "a*b", "**", "a\x00"])
def test_a_pattern_that_is_none_is_refused(database: Database, pattern: str) -> None:
    with pytest.raises(FieldInvalid):
        database.call(set_alias, Clock(), pattern, "Qwen")


def test_what_a_name_is_for_must_be_there(database: Database) -> None:
    with pytest.raises(ModelUnknown):
        database.call(set_alias, Clock(), "claude-*", "nothing")
