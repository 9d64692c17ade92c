"""The master key is rotated under a running house: nobody is restarted, nothing that was sealed is lost."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from installation import Installation
from openmaas.catalog.deployments import list_deployments, new_deployment
from openmaas.catalog.law import deployments
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, SettingInvalid
from openmaas.house.first_start import open_house
from openmaas.house.layout import Layout
from openmaas.house.rotation import STEPS, Step, rotate_master
from openmaas.identity.book import add_key, add_organisation, add_project, rewrap
from openmaas.identity.law import keys
from openmaas.identity.seal import MasterKeys
from openmaas.store.audit_log import SYSTEM, Actor
from openmaas.store.database import Database
from openmaas.store.files import lock

CLOCK = Clock()
WHO = Actor(SYSTEM, CLOCK)


def far(house: Installation, status: int = 200) -> None:
    """A request to the endpoint whose credential is sealed."""
    body = {"model": "far", "messages": [{"role": "user", "content": "hello"}], "user": "echo:tokens=1"}
    found, _, answer = house.ask("POST", "/v1/chat/completions", body)
    assert found == status, answer


def test_a_running_house_goes_on_with_the_new_master_key(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data", relays="2")
    house.start()
    house.ready()
    url = f"http://127.0.0.1:{house.port}/v1"  # the endpoint elsewhere is the house itself
    for path, body in (
        ("/models", {"name": "far", "context_tokens": 1_000}),
        ("/prices", {"model": "far", "input": "1", "output": "1"}),
        (
            "/deployments",
            {"model": "far", "kind": "openai_http", "url": url, "api_key": house.key, "served_name": "echo"},
        ),
    ):
        assert house.admin("POST", path, body)[0] == 201
    project = house.admin("GET", "/projects")[1]["data"][0]["id"]
    time.sleep(1)  # both relays know of the model
    broken: list[object] = []
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            try:
                far(house)
            except (AssertionError, OSError) as error:
                broken.append(error)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    for version in (2, 3, 4):
        told = house.command("keys", "rotate-master", "--json")
        assert json.loads(told.stdout)["version"] == version, told.stderr
    over.set()
    asking.join()
    assert not broken
    # The control plane, which has run since before the first rotation, seals under the last version …
    status, made = house.admin("POST", "/keys", {"project_id": project})
    assert status == 201
    assert house.ask("GET", "/v1/models", key=made["key"])[0] == 200
    assert house.command("keys", "rotate-master").returncode == 0
    # … and a relay that starts now opens the credential.
    house.kill("house.relay")
    time.sleep(1)
    house.ready()
    for _ in range(8):
        far(house)
    assert house.command("keys", "revoke", made["id"]).returncode == 0
    time.sleep(1)
    assert {house.ask("GET", "/v1/models", key=made["key"])[0] for _ in range(8)} == {401}
    assert list(json.loads((tmp_path / "data" / "master.keys").read_text())["keys"]) == ["5"]
    assert house.stop() == 0
    assert house.command("ledger", "audit").returncode == 0


@pytest.fixture
def books(tmp_path: Path) -> tuple[Database, Layout, str]:
    """The database of a house with two keys and a credential, and a project."""
    layout = Layout(str(tmp_path))
    layout.prepare()
    database, master = open_house(layout), MasterKeys(layout.master_keys)
    organisation = database.call(add_organisation, CLOCK, "o")
    project = database.call(add_project, CLOCK, organisation, "p")
    for name in ("one", "two"):
        database.call(add_key, CLOCK, master, project, name, scopes=["usage"])
    deployment = new_deployment(CLOCK, "far", "openai_http", url="http://x/v1")
    version, secret = master.seal(b"credential", deployment.id)
    with database.engine.begin() as tx:
        tx.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        tx.exec_driver_sql(
            "INSERT INTO models (name, task, context_tokens, output_tokens_default, description, created_ms)"
            " VALUES ('far', 'generate', 1000, 10, '', 0)"
        )
        row = {name: getattr(deployment, name) for name in deployments.c.keys()}  # noqa: SIM118 - a column collection
        tx.execute(deployments.insert().values({**row, "credential_sealed": secret, "master_version": version}))
    return database, layout, project


def open_all(database: Database, master: MasterKeys) -> int:
    """Open everything that is sealed; returns how much there is."""
    rows = database.look(lambda tx: tx.execute(keys.select()).all())
    for row in rows:
        assert len(master.open(row.secret_sealed, row.id, row.master_version)) >= 32
    (far_away,) = database.look(list_deployments)
    assert far_away.credential_sealed is not None
    assert far_away.master_version is not None
    assert master.open(far_away.credential_sealed, far_away.id, far_away.master_version) == b"credential"
    return len(rows) + 1


def versions(layout: Layout) -> list[str]:
    return list(json.loads(layout.master_keys.read_text())["keys"])


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_rotation_that_was_cut_off_leaves_everything_readable_and_the_next_one_completes_it(
    books: tuple[Database, Layout, str], step: int
) -> None:
    database, layout, _ = books
    long_running = MasterKeys(layout.master_keys)
    cut_off = MasterKeys(layout.master_keys)
    if step >= 1:
        cut_off.add_version()
    if step >= 2:
        database.call(rewrap, cut_off)  # and not the credentials: less than the transaction does
    for reader in (long_running, cut_off, MasterKeys(layout.master_keys)):
        assert open_all(database, reader) == 3
    version, count = rotate_master(database, layout, WHO)
    assert (version, count) == (2 if step == 0 else 3, 3)
    assert versions(layout) == [str(version)]
    for reader in (long_running, MasterKeys(layout.master_keys)):
        assert open_all(database, reader) == 3


def test_a_rotation_that_is_killed_at_any_moment_leaves_everything_readable(
    books: tuple[Database, Layout, str],
) -> None:
    database, layout, project = books
    long_running = MasterKeys(layout.master_keys)
    for number in range(200):
        database.call(add_key, CLOCK, long_running, project, str(number), scopes=["usage"])
    left_over = set()
    for seed in range(12):
        before = layout.master_keys.stat().st_ino
        command = [sys.executable, "-m", "openmaas.cli", "keys", "rotate-master", "--data", layout.data]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as rotating:
            while layout.master_keys.stat().st_ino == before:  # the first step is not done
                time.sleep(0.0005)
            time.sleep(random.Random(seed).random() * 0.08 * (seed % 4))  # every fourth one at once
            rotating.kill()
        left_over.add(len(versions(layout)))
        for reader in (long_running, MasterKeys(layout.master_keys)):
            assert open_all(database, reader) == 203
    assert max(left_over) > 1  # some were killed in the middle
    rotate_master(database, layout, WHO)
    assert len(versions(layout)) == 1
    assert open_all(database, long_running) == 203


def test_keys_made_while_rotations_run_are_all_readable(books: tuple[Database, Layout, str]) -> None:
    database, layout, project = books
    master = MasterKeys(layout.master_keys)  # as a control plane holds it
    over = threading.Event()
    made = 0

    def rotate() -> None:
        while not over.is_set():
            rotate_master(database, layout, WHO)

    rotating = threading.Thread(target=rotate)
    rotating.start()
    for number in range(40):
        database.call(add_key, CLOCK, master, project, str(number), scopes=["usage"])
        made += 1
    over.set()
    rotating.join()
    assert open_all(database, MasterKeys(layout.master_keys)) == made + 3
    assert open_all(database, master) == made + 3
    rotate_master(database, layout, WHO)
    assert len(versions(layout)) == 1


def test_step_by_step_two_hosts_open_all_that_either_seals_at_any_moment(
    books: tuple[Database, Layout, str], tmp_path: Path
) -> None:
    database, layout, project = books
    other = MasterKeys(shutil.copy(layout.master_keys, tmp_path / "other.keys"))
    own = MasterKeys(layout.master_keys)

    def both_seal_and_open() -> None:
        for number, master in enumerate((own, other)):
            database.call(add_key, CLOCK, master, project, f"key {number}", scopes=["usage"])
        assert open_all(database, own) == open_all(database, other)

    both_seal_and_open()
    for step in STEPS[1:]:
        for _ in range(2):  # the second time changes nothing that is in use
            assert rotate_master(database, layout, WHO, step)[0] == 2
            both_seal_and_open()
        shutil.copy(layout.master_keys, tmp_path / "fresh")
        (tmp_path / "fresh").replace(tmp_path / "other.keys")
        both_seal_and_open()
    assert versions(layout) == ["2"]
    assert open_all(database, MasterKeys(tmp_path / "other.keys")) == open_all(database, own)


@pytest.mark.parametrize("step", ["seal", "drop"])
def test_a_step_before_its_turn_is_refused(books: tuple[Database, Layout, str], step: Step) -> None:
    database, layout, _ = books
    if step == "drop":
        rotate_master(database, layout, WHO, "prepare")
    with pytest.raises(Conflict, match="first"):
        rotate_master(database, layout, WHO, step)
    assert open_all(database, MasterKeys(layout.master_keys)) == 3


def test_two_rotations_at_once_are_refused(books: tuple[Database, Layout, str]) -> None:
    database, layout, _ = books
    held = lock(layout.master_keys.with_suffix(".lock"))
    assert held is not None
    with pytest.raises(Conflict):
        rotate_master(database, layout, WHO)
    assert versions(layout) == ["1"]


def test_a_foreign_master_key_is_named(books: tuple[Database, Layout, str], tmp_path: Path) -> None:
    database, _, _ = books
    with pytest.raises(SettingInvalid, match=r"is not the file that sealed"):
        open_all(database, MasterKeys(tmp_path / "other.keys"))
