"""Prometheus: whichever relay is asked answers for the whole house, and not to everybody."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation
from openmaas.house.layout import Layout

RELAYS = 3


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with several relays."""
    made = Installation(tmp_path_factory.mktemp("relays") / "data", relays=str(RELAYS))
    made.start()
    made.ready()
    yield made
    made.end()


def scrape(house: Installation) -> dict[str, float]:
    """Every line of the page by its name and labels."""
    key = (house.data / "admin.key").read_text().strip()
    status, _, page = house.ask("GET", "/metrics", key=key)
    assert status == 200, page
    lines = (line.rpartition(" ") for line in page.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_every_scrape_has_the_numbers_of_all_relays(house: Installation) -> None:
    asked = 40
    for _ in range(asked):
        assert house.chat("tokens=2")[0] == 200
    for _ in range(10):  # the kernel chooses which relay answers
        found = scrape(house)
        assert [found[f'openmaas_relay_up{{relay="{number}"}}'] for number in range(RELAYS)] == [1.0] * RELAYS
        done = [found.get(f'openmaas_requests_total{{model="echo",outcome="done",relay="{n}"}}', 0) for n in range(3)]
        assert sum(done) == asked
        tokens = [v for k, v in found.items() if k.startswith("openmaas_tokens_total") and 'kind="completion"' in k]
        assert sum(tokens) == 2 * asked


def test_a_name_is_explained_once(house: Installation) -> None:
    key = (house.data / "admin.key").read_text().strip()
    page = house.ask("GET", "/metrics", key=key)[2].decode()
    explained = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert len(explained) == len(set(explained)) > 5


def test_a_relay_that_was_killed_comes_back_into_the_page(house: Installation) -> None:
    os.kill(house.children("openmaas.house.relay")[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            found = scrape(house)
            if sum(v for k, v in found.items() if k.startswith("openmaas_relay_up")) == RELAYS:
                return
        except OSError:
            pass  # the connection was the dead one's
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_numbers_of_the_house_are_not_for_everybody(house: Installation) -> None:
    status, _, told = house.ask("GET", "/metrics", key="key_unknown.secret")
    assert (status, json.loads(told)["error"]["code"]) == (401, "invalid_api_key")
    status, _, told = house.ask("GET", "/metrics")  # a customer's key
    assert (status, json.loads(told)["error"]["code"]) == (403, "missing_scope")
    _, key = house.organisation("0.01", scopes=["metrics"])
    assert house.ask("GET", "/metrics", key=key)[0] == 200
    assert house.ask("GET", "/v1/usage", key=key)[0] == 403  # and it opens nothing else


def test_the_sockets_between_relays_are_in_the_private_folder(house: Installation) -> None:
    folder = Path(Layout(str(house.data)).run)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.glob("relay*.sock"))) == RELAYS
