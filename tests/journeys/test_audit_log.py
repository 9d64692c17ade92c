"""Every command leaves its entry in the audit log: the routes of the OpenAPI document and the commands of the command
line are walked, so that a new one without an entry fails here."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import tunable
from installation import Installation
from openmaas.cli.main import main
from stripe_events import SECRET, session, signature

#: Whose commands these are.
ACTOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
#: Method, path, body, action, and what the id of the answer is called from here on.
Route = tuple[str, str, dict[str, Any] | None, str, str]
ORGANISATION = "/manage/v1/organisations/{organisation}"
BATCH = {"amount": "1", "expires_at": "2099-01-01T00:00:00Z", "request_key": "v"}
ORDER = {"amount": "1", "channel": "bank", "request_key": "1"}
ROUTES: list[Route] = [
    ("POST", "/manage/v1/organisations", {"name": "o"}, "organisation.create", "organisation"),
    ("POST", "/manage/v1/projects", {"organisation_id": "{organisation}", "name": "p"}, "project.create", "project"),
    ("POST", "/manage/v1/keys", {"project_id": "{project}"}, "key.create", "key"),
    ("DELETE", "/manage/v1/keys/{key}", None, "key.revoke", ""),
    ("POST", "/manage/v1/models", {"name": "m", "context_tokens": 8}, "model.create", ""),
    (
        "POST",
        "/manage/v1/deployments",
        {"model": "m", "kind": "openai_http", "url": "http://127.0.0.1:9/v1", "api_key": "sk-very-secret"},
        "deployment.create",
        "deployment",
    ),
    ("PATCH", "/manage/v1/deployments/{deployment}", {"wanted": "stopped"}, "deployment.change", ""),
    ("PUT", "/manage/v1/models/{tunable}/trainer", {"trainer": "ms-swift"}, "model.trainer", ""),
    ("PUT", "/manage/v1/models/{tunable}/fallbacks", {"models": []}, "model.fallbacks", ""),
    ("DELETE", "/manage/v1/models/{tunable}/fallbacks", None, "model.fallbacks", ""),
    ("PUT", "/manage/v1/aliases", {"pattern": "Other-*", "model": "m"}, "alias.set", "alias"),
    ("DELETE", "/manage/v1/aliases/{alias}", None, "alias.remove", ""),
    ("POST", "/manage/v1/prices", {"model": "m", "input": "1"}, "price.set", ""),
    ("POST", "/manage/v1/agents", {"id": "a", "model": "m", "prompt": "Be brief."}, "agent.create", "agent"),
    ("PATCH", "/manage/v1/agents/{agent}", {"temperature": 0.5}, "agent.change", ""),
    ("DELETE", "/manage/v1/agents/{agent}", None, "agent.remove", ""),
    ("POST", f"{ORGANISATION}/topups", {"amount": "100", "request_key": "t"}, "topup.create", ""),
    ("PUT", f"{ORGANISATION}/payer", {"currency": "CNY"}, "payer.set", ""),
    ("PUT", f"{ORGANISATION}/credit", {"credit": "1"}, "credit.set", ""),
    (
        "POST",
        f"{ORGANISATION}/packs",
        {"name": "p", "amount": "9", "until_time": "2099-01-01T00:00:00Z", "request_key": "p"},
        "pack.create",
        "",
    ),
    ("POST", f"{ORGANISATION}/budgets", {"scope": "organisation", "amount": "1"}, "budget.create", "budget"),
    ("PATCH", "/manage/v1/budgets/{budget}", {"amount": "2"}, "budget.change", ""),
    ("DELETE", "/manage/v1/budgets/{budget}", None, "budget.end", ""),
    (
        "POST",
        "/manage/v1/plans",
        {"name": "p", "windows": [{"name": "w", "kind": "month", "credits": "1"}], "price": "1"},
        "plan.create",
        "plan",
    ),
    (
        "POST",
        f"{ORGANISATION}/subscriptions",
        {"plan_id": "{plan}", "request_key": "s"},
        "subscription.create",
        "subscription",
    ),
    ("PATCH", "/manage/v1/subscriptions/{subscription}", {"renews": False}, "subscription.change", ""),
    ("POST", f"{ORGANISATION}/refunds", {"amount": "1", "request_key": "r"}, "refund.create", "refund"),
    ("POST", "/manage/v1/refunds/{refund}/post", None, "refund.post", ""),
    ("POST", f"{ORGANISATION}/refunds", {"amount": "1", "request_key": "r2"}, "refund.create", "refund"),
    ("POST", "/manage/v1/refunds/{refund}/void", None, "refund.void", ""),
    ("POST", f"{ORGANISATION}/credit-notes", {"amount": "1", "request_key": "c"}, "credit_note.create", ""),
    ("POST", "/manage/v1/voucher-batches", BATCH, "voucher_batch.create", "batch"),
    ("POST", "/v1/vouchers/redeem", {"code": "{code}"}, "voucher.redeem", ""),
    ("DELETE", "/manage/v1/voucher-batches/{batch}", None, "voucher_batch.end", ""),
    ("POST", f"{ORGANISATION}/webhooks", {"url": "https://h.example"}, "webhook.create", "hook"),
    ("PATCH", f"{ORGANISATION}/webhooks/{{hook}}", {"enabled": False}, "webhook.change", ""),
    ("POST", f"{ORGANISATION}/webhooks/{{hook}}/rotate", None, "webhook.rotate", ""),
    ("POST", f"{ORGANISATION}/webhooks/{{hook}}/replay", {"since": "2026-01-01T00:00:00Z"}, "webhook.replay", ""),
    ("POST", f"{ORGANISATION}/webhooks/{{hook}}/test", None, "webhook.test", ""),
    ("DELETE", f"{ORGANISATION}/webhooks/{{hook}}", None, "webhook.remove", ""),
    ("POST", "/v1/webhooks", {"url": "https://h.example", "types": ["key.created"]}, "webhook.create", "hook"),
    ("PATCH", "/v1/webhooks/{hook}", {"enabled": False}, "webhook.change", ""),
    ("POST", "/v1/webhooks/{hook}/rotate", None, "webhook.rotate", ""),
    ("POST", "/v1/webhooks/{hook}/replay", {"since": "2026-01-01T00:00:00Z"}, "webhook.replay", ""),
    ("POST", "/v1/webhooks/{hook}/test", None, "webhook.test", ""),
    ("DELETE", "/v1/webhooks/{hook}", None, "webhook.remove", ""),
    ("PUT", "/manage/v1/projects/{project}/retention", {"responses_days": 7}, "retention.set", ""),
    ("PUT", "/manage/v1/limits", {"kind": "rpm", "amount": 900, "scope": "default"}, "limit.set", "limit"),
    ("DELETE", "/manage/v1/limits/{limit}", None, "limit.remove", ""),
    ("POST", f"{ORGANISATION}/invoices", {"period": "2020-01"}, "invoice.issue", ""),
    ("POST", "/manage/v1/orders", ORDER | {"organisation_id": "{organisation}"}, "order.create", "order"),
    ("POST", "/manage/v1/orders/{order}/pay", {"amount": "1", "payment_id": "b"}, "order.pay", ""),
    ("POST", "/v1/orders", ORDER | {"request_key": "2", "channel": "stripe"}, "order.create", "order"),
    ("POST", "/payments/stripe", session("{order}", 100, "cny"), "order.pay", ""),
]
#: What callers do with what is their own, and the operator's log has no business with.
OWN = "/responses/{response_id}"
PRICE_FILE = Path(__file__).parents[2] / "prices" / "zhipu-2026.toml"
#: Commands that change the database, and what is recorded; a running house does the rest by itself.
LINES = {
    "keys create --name x": "key.create",
    "keys revoke {id}": "key.revoke",
    "keys rotate-master": "master_key.rotate",
    "topup 5 --organisation default": "topup.create",
    "models offer echo": "",  # the house offers it already: nothing is changed
    "models stop echo": "deployment.change",
    "models start echo": "deployment.change",
    "models price echo --input 1 --output 2": "price.set",
    "models add --name other --context-tokens 8": "model.create",
    "models attach --model other --kind echo": "deployment.create",
    "models change {id} --share-percent 5": "deployment.change",
    "models stop other": "deployment.change",
    "models fallbacks other --models echo": "model.fallbacks",
    "models no-fallbacks other": "model.fallbacks",
    "agents create --id a --model echo --prompt Brief": "agent.create",
    "agents change a --max-tokens 5": "agent.change",
    "agents delete a": "agent.remove",
    f"models trainer {tunable.NAME} --trainer ms-swift": "model.trainer",
    "models alias claude-* echo": "alias.set",
    "models alias claude-* --remove": "alias.remove",
    "ledger replay": "ledger.replay.begin ledger.replay.end",
    f"models prices {PRICE_FILE}": "price.import",
    "ledger rerate --model echo --since 2026-01-01T00:00:00Z --until 2026-01-02T00:00:00Z": "ledger.rerate",
    "limits set rpm 800": "limit.set",
    "limits remove {id}": "limit.remove",
    "invoices issue 2020-01 --organisation default": "invoice.issue",
    "plans create --name lite --windows name=5h,kind=rolling,credits=2000,hours=5": "plan.create",
    "subscriptions start --organisation default --plan-id {id}": "subscription.create",
    "subscriptions change {id} --no-renews": "subscription.change",
    "packs grant --organisation default --name p --amount 5 --until-time 2099-01-01T00:00:00Z": "pack.create",
    "budgets set --organisation default --scope organisation --amount 5": "budget.create",
    "budgets change {id} --amount 6": "budget.change",
    "budgets end {id}": "budget.end",
    "credit set --organisation default --credit 1": "credit.set",
    "payers set --organisation default --currency CNY --taxes name=VAT,rate=0.06": "payer.set",
    "vouchers issue --amount 1 --expires-at 2099-01-01T00:00:00Z": "voucher_batch.create",
    "vouchers end {id}": "voucher_batch.end",
    "refunds begin --organisation default --amount 1": "refund.create",
    "refunds post {id}": "refund.post",
    "refunds begin --organisation default --amount 2": "refund.create",
    "refunds void {id}": "refund.void",
    "refunds credit-note --organisation default --amount 1": "credit_note.create",
    "webhooks create --organisation default --url https://h.example": "webhook.create",
    "webhooks change {id} --organisation default --no-enabled": "webhook.change",
    "webhooks rotate {id} --organisation default": "webhook.rotate",
    "webhooks replay {id} --organisation default": "webhook.replay",
    "webhooks test {id} --organisation default": "webhook.test",
    "webhooks delete {id} --organisation default": "webhook.remove",
    "orders create --organisation default --amount 5 --channel bank": "order.create",
    "orders paid {id} --amount 5 --payment-id b2": "order.pay",
}
#: Commands that read, or touch files alone.
READING = {
    *("audit-log verify", "audit-log export", "chat", "doctor", "keys list", "ledger audit", "ledger statement"),
    *(
        "models list",
        "models aliases",
        "models deployments",
        "models pull",
        "serve",
        "settings",
        "usage export",
        "limits list",
    ),
    *("simulate", "calibrate", "sweep"),
    *("phone", "computer", "traces report", "traces test", "traces replay"),
    *("invoices list", "invoices show", "ledger reconcile", "payers show"),
    *(
        f"{noun} list"
        for noun in ("plans", "subscriptions", "packs", "budgets", "vouchers", "refunds", "orders", "webhooks")
    ),
    *("jobs list", "batches list", "webhooks deliveries", "agents list", "agents show"),
}
#: Recorded too, and tested where a journal is gone, and where a job runs.
ELSEWHERE = {"ledger write-off", "jobs cancel"}
#: What customers use the service for changes nothing that an operator has set up: receipts and jobs tell of it.
USED = (
    *("/v1/files", "/v1/batches", "/v1/fine_tuning/", "/api/paas/v4/", "/api/coding/paas/v4/", "/api/anthropic/"),
    *("/api/v1/agents", "/api/llm-application/"),
    "/v1/models/",  # of those that a customer has tuned
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house whose log nobody else writes to."""
    made = Installation(tmp_path_factory.mktemp("audited") / "data", stripe_webhook_secret=SECRET)
    made.start()
    made.ready()
    yield made
    made.end()


def log(house: Installation) -> list[dict[str, Any]]:
    """Every entry, page by page."""
    found: list[dict[str, Any]] = []
    after: str | None = "0"
    while after is not None:
        status, page = house.admin("GET", f"/audit-log?after={after}&limit=100")
        assert status == 200, page
        found += page["data"]
        after = page["next_after"]
    return found


def filled(text: str, names: dict[str, str]) -> str:
    """``{name}`` replaced by what it stands for."""
    for name, found in names.items():
        text = text.replace(f"{{{name}}}", found)
    return text


def test_every_route_that_changes_something_is_recorded_with_its_key(house: Installation) -> None:
    paths = json.loads(house.ask("GET", "/openapi.json")[2])["paths"]
    changing = {(verb.upper(), path) for path, verbs in paths.items() for verb in verbs if verb != "get"}
    changing = {each for each in changing if OWN not in each[1]}
    admin = (house.data / "admin.key").read_text().strip()
    names: dict[str, str] = {"tunable": tunable.offer(house)}
    walked = set()
    for method, path, body, action, name in ROUTES:
        before = log(house)
        sent = filled(json.dumps(body), names).encode() if body else None
        headers = {"stripe-signature": signature(sent or b"")}
        status, _, answer = house.ask(method, filled(path, names), sent, key=admin, headers=headers)
        assert status in (200, 201), (path, answer)
        if name:
            names[name] = json.loads(answer).get("id") or json.loads(answer)["pattern"]
            names["code"] = json.loads(answer).get("codes", [""])[0]
        *rest, entry = log(house)
        assert rest == before, path
        assert (entry["action"], entry["actor"]) == (action, "stripe" if "stripe" in path else admin.partition(".")[0])
        assert entry["subject"]
        walked.add((method, _pattern(path)))
    assert {(method, _pattern(path)) for method, path in changing if not path.startswith(USED)} == walked
    said = json.dumps(log(house))
    assert "very-secret" not in said
    assert "code" not in {name for entry in log(house) for name in entry["detail"]}
    assert '"amount": "100"' in said


def _pattern(path: str) -> str:
    return "/".join("*" if part.startswith("{") else part for part in path.split("/"))


def commands(group: click.Command, before: str = "") -> Iterator[str]:
    """The names of all commands, ``keys create`` and so on."""
    if not isinstance(group, click.Group):
        yield before.strip()
        return
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found is not None
        yield from commands(found, f"{before} {name}")


def test_every_command_that_changes_something_is_recorded(house: Installation) -> None:
    known = READING | ELSEWHERE | {name for line in LINES for name in commands(main) if line.startswith(name)}
    assert {*commands(main)} == known
    tunable.offer(house)
    made = ""
    for line, action in LINES.items():
        count = len(log(house))
        arguments = [*line.replace("{id}", made).split(" "), "--data", str(house.data), "--json"]
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == 0, found.output
        made = json.loads(found.output).get("id", made) if found.output.startswith("{") else made
        entries = log(house)[count:]
        assert [(entry["action"], entry["actor"]) for entry in entries] == [(each, ACTOR) for each in action.split()]
    house.ready("echo")


def test_the_first_start_is_recorded_and_an_export_is_checked_in_three_lines(house: Installation) -> None:
    lines = house.command("audit-log", "export").stdout.splitlines()
    assert {json.loads(line)["action"] for line in lines[:2]} == {"house.begin", "model.offer"}
    before = bytes(32)
    for line in lines:
        said, _, kept = line.rpartition(',"hash":"')
        before = hashlib.sha256(before + said.encode() + b"}").digest()
        assert before.hex() == kept[:-2]
    found = house.command("audit-log", "verify", "--anchor", f"{len(lines)}:{before.hex()}")
    assert (found.returncode, found.stderr) == (0, "")
    assert f"{len(lines)} entries, all as they were written" in found.stdout
    wrong = house.command("audit-log", "verify", "--anchor", f"1:{before.hex()}")
    assert wrong.returncode == 1
    assert "written anew" in wrong.stderr
    assert house.command("audit-log", "verify", "--anchor", "x").returncode == 2


def test_the_log_is_the_operators_alone(house: Installation, tmp_path: Path) -> None:
    assert house.ask("GET", "/manage/v1/audit-log")[0] == 403
    assert CliRunner().invoke(main, ["audit-log", "verify", "--data", str(tmp_path)]).exit_code == 2
