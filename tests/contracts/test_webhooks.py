"""What customers are told: in the transaction of what happened, signed, and again until they have heard."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from listener import Listener
from openmaas.core.bounds import (
    DISABLE_AFTER_S,
    EVENTS_KEPT_S,
    WEBHOOK_CLAIM_S,
    WEBHOOK_RETRIES_S,
    WEBHOOK_TIMEOUT_S,
    WEBHOOKS_AT_ONCE_EACH,
    WEBHOOKS_MAX,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.identity.book import add_key, add_organisation, add_project, revoke_key
from openmaas.identity.seal import MasterKeys
from openmaas.ledger.book import top_up
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.store.audit_log import list_entries
from openmaas.store.outbox import EVENTS, Event, event_of, events
from openmaas.webhooks import book, delivering, sending
from openmaas.webhooks.addresses import check_url, is_public
from openmaas.webhooks.book import Delivery, Endpoint
from openmaas.webhooks.deliverer import Deliverer
from openmaas.webhooks.sending import body_of, send, shown_secret, signed
from servers import STORES, new_database

DAY_S = 24 * 3600
#: Something to send.
EVENT = Event("evt_1", "org", "webhook.test", 0, msgspec.Raw(b"{}"))


class Desk:
    """An organisation, a clock that the test moves, and a deliverer."""

    def __init__(self, store: str, folder: Path) -> None:
        self.now_ms = 1_800_000_000_000
        self.clock = Clock(wall_ms=lambda: self.now_ms)
        self.database = new_database(store, folder)
        self.master = MasterKeys(folder / "master")
        self.deliverer = Deliverer(self.database, self.clock, self.master.open, private=True)
        self.listeners: list[Listener] = []
        self.endpoints: dict[str, Listener] = {}

    def listen(self, *types: str, owner: str = "org", at: Listener | None = None) -> tuple[str, Listener]:
        """A new endpoint, and who hears there."""
        secret = book.new_secret()
        listener = at or Listener(lambda: self.now_ms / 1000)
        listener.secrets.append(shown_secret(secret))
        if at is None:
            self.listeners.append(listener)
        made = self.clock.new_id("whk").lower()
        sealed = self.master.seal(secret, made)
        fresh = Endpoint(
            id=made,
            organisation_id=owner,
            url=listener.url,
            types=types or None,
            secret_sealed=sealed.secret,
            master_version=sealed.version,
            created_ms=self.now_ms,
        )
        self.database.call(book.add_endpoint, fresh)
        return made, listener

    def top_up(self, key: str = "1", owner: str = "org") -> None:
        fields = {"currency": "CNY", "amount_nanos": 5 * 10**9, "request_key": key, "memo": "thanks"}
        self.database.call(top_up, self.clock, owner, **fields)

    def deliver(self, seconds: float = 0) -> None:
        """All that is due, so many seconds later."""
        self.now_ms += round(seconds * 1000)

        async def run() -> None:
            for _ in range(20):
                await self.deliverer.step()
                await self.deliverer.drained()

        asyncio.run(run())

    def deliveries(self, endpoint_id: str) -> list[Delivery]:
        return self.database.look(book.list_deliveries, endpoint_id, "org", state=None, limit=100)

    def endpoint(self, endpoint_id: str) -> Endpoint:
        return self.database.look(book.find_endpoint, endpoint_id, "org")

    def told(self) -> list[str]:
        """The types of all events."""
        return list(self.database.look(lambda tx: tx.execute(sa.select(events.c.type).order_by("id")).scalars().all()))


@pytest.fixture(params=STORES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(request.param, tmp_path)
    yield made
    for listener in made.listeners:
        listener.stop()
    made.database.close()


def test_an_event_is_there_when_what_it_tells_of_is_and_not_otherwise(desk: Desk) -> None:
    def fails(tx: sa.Connection) -> None:
        fields = {"currency": "CNY", "amount_nanos": 1, "request_key": "x", "memo": ""}
        top_up(tx, desk.clock, "org", **fields)
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        desk.database.call(fails)
    assert desk.told() == []
    desk.top_up()
    desk.top_up()  # the same payment again
    assert desk.told() == ["wallet.topped_up"]


def test_a_delivery_is_signed_and_says_what_happened(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    desk.top_up()
    desk.top_up(owner="somebody else")
    desk.deliver()
    (heard,) = listener.wait(1)
    assert (heard["type"], heard["timestamp"]) == ("wallet.topped_up", "2027-01-15T08:00:00.000Z")
    assert (heard["data"]["amount"], heard["data"]["currency"], heard["data"]["memo"]) == ("5.00", "CNY", "thanks")
    (delivery,) = desk.deliveries(endpoint_id)
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("done", 1, 200)
    desk.deliver(DAY_S)
    assert len(listener.heard) == 1
    assert listener.refused == 0


def test_an_endpoint_hears_the_types_it_asked_for(desk: Desk) -> None:
    _, keys = desk.listen("key.created", "key.revoked")
    _, money = desk.listen("wallet.topped_up")
    organisation = desk.database.call(add_organisation, desk.clock, "org")
    project = desk.database.call(add_project, desk.clock, organisation, "p")
    key_id, _ = desk.database.call(add_key, desk.clock, desk.master, project, "k", scopes=["usage"])
    for _ in range(2):
        desk.database.call(revoke_key, desk.clock, key_id)
    own = desk.listen("key.created", "key.revoked", owner=organisation)[1]
    desk.top_up()
    desk.deliver()
    assert {heard["type"] for heard in own.wait(2)} == {"key.created", "key.revoked"}
    assert len(own.heard) == 2  # once, though revoked twice
    assert [heard["type"] for heard in money.wait(1)] == ["wallet.topped_up"]
    assert keys.heard == []  # the keys of somebody else


def test_an_endpoint_hears_nothing_of_what_was_before_it(desk: Desk) -> None:
    desk.top_up()
    desk.now_ms += 1
    _, listener = desk.listen()
    desk.top_up("2")
    desk.deliver()
    assert len(listener.wait(1)) == 1
    assert desk.told() == ["wallet.topped_up"] * 2
    assert len(listener.heard) == 1


def test_an_account_that_cannot_pay_is_told_of_once_an_hour(desk: Desk) -> None:
    desk.database.call(open_journal, "rly_1", "home", desk.now_ms)
    wallet = {"least_nanos": 10**9, "wish_nanos": 10**9, "share": 1}
    for turn in (1, 2):
        desk.database.call(lease, desk.clock, "wallet:org:CNY", Step("rly_1", turn), **wallet)
    assert desk.told() == ["account.exhausted"]
    desk.now_ms += 3_600_000
    desk.database.call(lease, desk.clock, "wallet:org:CNY", Step("rly_1", 3), **wallet)
    assert desk.told() == ["account.exhausted"] * 2


def test_what_fails_is_tried_again_at_the_times_that_the_specification_advises(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    listener.answers.extend([500, 429, 302, 200])
    desk.top_up()
    desk.deliver()
    desk.deliver(WEBHOOK_RETRIES_S[0] * 0.9)  # too early
    assert len(listener.heard) == 1
    for wait_s in WEBHOOK_RETRIES_S[:3]:
        desk.deliver(wait_s * 1.2)
    assert len({heard["id"] for heard in listener.wait(4)}) == 1  # a receiver can tell; a redirect was not followed
    (delivery,) = desk.deliveries(endpoint_id)
    assert (delivery.state, delivery.attempts) == ("done", 4)


def test_what_never_succeeds_fails_and_can_be_delivered_again(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"url": "http://127.0.0.1:1/"})
    desk.top_up()
    desk.deliver()
    for wait_s in WEBHOOK_RETRIES_S[:-1]:
        desk.deliver(wait_s * 1.2)
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"enabled": True})  # five days are not over for it
    desk.deliver(WEBHOOK_RETRIES_S[-1] * 1.2)
    (delivery,) = desk.deliveries(endpoint_id)
    assert (delivery.state, delivery.last_status) == ("failed", 0)
    assert "ConnectionRefusedError" in delivery.last_answer
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"url": listener.url, "enabled": True})
    assert desk.database.call(book.replay, desk.clock, endpoint_id, "org", since_ms=0) == 1
    desk.deliver()
    listener.wait(1)
    (delivery,) = desk.deliveries(endpoint_id)
    assert desk.database.call(book.replay, desk.clock, endpoint_id, "org", delivery_id=delivery.id) == 1
    desk.deliver()
    listener.wait(2)


def audit_actions(desk: Desk) -> list[str]:
    return [entry.action for entry, _ in desk.database.look(list_entries, after=0, limit=100)]


def test_an_endpoint_that_says_gone_hears_nothing_more_and_the_audit_log_says_so(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    listener.answers.append(410)
    desk.top_up()
    desk.deliver()
    desk.top_up("2")
    desk.deliver(DAY_S)
    assert len(listener.heard) == 1
    assert not desk.endpoint(endpoint_id).enabled
    assert audit_actions(desk) == ["webhook.disable"]


def test_an_endpoint_that_nothing_reaches_for_days_is_disabled(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    listener.answers.extend([500] * 100)
    for day in range(DISABLE_AFTER_S // DAY_S + 2):
        desk.top_up(str(day))
        desk.deliver(DAY_S)
    assert not desk.endpoint(endpoint_id).enabled
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"enabled": True})
    listener.answers.clear()
    desk.top_up("after")
    desk.deliver()
    assert desk.endpoint(endpoint_id).failing_since_ms is None


def test_a_slow_endpoint_keeps_nobody_else_waiting(desk: Desk) -> None:
    _, slow = desk.listen()
    _, quick = desk.listen()
    slow.answers.append(-2)
    desk.top_up()

    async def run() -> float:
        began_s = time.monotonic()
        running = asyncio.ensure_future(desk.deliverer.run())
        await asyncio.to_thread(quick.wait, 1)
        desk.top_up("2")
        await asyncio.to_thread(quick.wait, 2)
        took_s = time.monotonic() - began_s
        running.cancel()
        await desk.deliverer.drained()
        return took_s

    assert asyncio.run(run()) < 2
    assert len(slow.heard) == 1  # one at a time


def test_slow_endpoints_of_one_organisation_keep_neither_others_nor_the_poster_waiting(desk: Desk) -> None:
    _, slow = desk.listen()
    for _ in range(WEBHOOKS_MAX - 1):
        desk.listen(at=slow)
    slow.answers.extend([-5] * WEBHOOKS_MAX)
    _, quick = desk.listen(owner="another")
    desk.top_up()
    desk.now_ms += 1
    desk.top_up(owner="another")

    async def run() -> float:
        running = asyncio.ensure_future(desk.deliverer.run())
        while not slow.heard:
            await asyncio.sleep(0.01)
        began_s = time.monotonic()
        posting = [asyncio.to_thread(time.sleep, 0.01) for _ in range(WEBHOOKS_MAX)]  # as the poster program's own work
        await asyncio.gather(*posting, asyncio.to_thread(quick.wait, 1))
        took_s = time.monotonic() - began_s
        running.cancel()
        await desk.deliverer.drained()
        return took_s

    assert asyncio.run(run()) < 4
    assert len(slow.heard) == WEBHOOKS_AT_ONCE_EACH


def test_nothing_waits_while_all_that_is_due_cannot_go(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    desk.top_up()
    assert desk.database.look(delivering.waiting, desk.clock, {})
    desk.database.call(delivering.fan_out, desk.clock)
    assert desk.database.look(delivering.waiting, desk.clock, {})
    assert not desk.database.look(delivering.waiting, desk.clock, {endpoint_id: "org"})  # the one before is on its way
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"enabled": False})
    assert not desk.database.look(delivering.waiting, desk.clock, {})
    desk.database.call(book.change_endpoint, endpoint_id, "org", {"enabled": True})
    desk.deliver()
    listener.wait(1)


def test_who_dies_with_a_delivery_leaves_it_to_the_next(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    desk.top_up()
    desk.database.call(delivering.fan_out, desk.clock)
    assert len(desk.database.call(delivering.claim, desk.clock, {})) == 1  # and is killed
    assert desk.database.call(delivering.claim, desk.clock, {}) == []  # by another host
    desk.deliver()
    assert listener.heard == []
    desk.deliver(WEBHOOK_CLAIM_S)
    listener.wait(1)
    assert desk.deliveries(endpoint_id)[0].state == "done"


def test_both_secrets_sign_for_a_day_after_a_rotation(desk: Desk) -> None:
    endpoint_id, listener = desk.listen()
    had = desk.endpoint(endpoint_id)
    old, fresh = desk.master.open(had.secret_sealed, had.id, had.master_version), book.new_secret()
    sealed, old_sealed = desk.master.seal(fresh, had.id), desk.master.seal(old, had.id).secret
    desk.database.call(book.rotate_secret, desk.clock, endpoint_id, "org", sealed, old_sealed)
    desk.top_up()
    desk.deliver()
    listener.wait(1)  # with the old secret
    listener.secrets = [shown_secret(fresh)]
    desk.top_up("2")
    desk.deliver(DAY_S + 1)
    listener.wait(2)
    assert listener.signatures == [2, 1]


@pytest.fixture
def dripping() -> Iterator[socket.socket]:
    """A server that sends what its test says at once, and then a byte now and then, for longer than anybody waits."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def drip(server: socket.socket, first: bytes, more: bytes) -> None:
    visit, _ = server.accept()
    with visit, contextlib.suppress(OSError):  # it was cut off
        visit.sendall(first)
        for _ in range(40):
            visit.sendall(more)
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("scheme", "first", "more"),
    [
        ("http", b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"."),
        ("http", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"."),
        ("https", b"\x16\x03\x03\x3f\xff", b"."),  # a handshake that does not end
    ],
)
def test_an_answer_that_only_drips_is_given_up(
    dripping: socket.socket, monkeypatch: pytest.MonkeyPatch, scheme: str, first: bytes, more: bytes
) -> None:
    monkeypatch.setattr(sending, "WEBHOOK_TIMEOUT_S", 1)
    server = threading.Thread(target=drip, args=(dripping, first, more))
    server.start()
    began_s = time.monotonic()
    told = send(f"{scheme}://127.0.0.1:{dripping.getsockname()[1]}/", EVENT, 0, [b"x" * 32], private=True)
    took_s = time.monotonic() - began_s
    server.join()
    assert told == (0, "no whole answer within 1 s")
    assert took_s < 5


def test_nothing_is_sent_when_the_name_was_found_too_late(
    dripping: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(host: str, port: int, **_: Any) -> list[Any]:
        time.sleep(0.2)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(sending, "WEBHOOK_TIMEOUT_S", 0.1)
    told = send(f"http://127.0.0.1:{dripping.getsockname()[1]}/", EVENT, 0, [b"x" * 32], private=True)
    assert told == (0, "no whole answer within 0.1 s")
    dripping.setblocking(False)
    with pytest.raises(BlockingIOError):
        dripping.accept()


def test_a_claim_lasts_longer_than_any_attempt() -> None:
    assert WEBHOOK_CLAIM_S > 2 * WEBHOOK_TIMEOUT_S


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "only https"),
        ("https://127.0.0.1/", "private network"),
        ("https://localhost:8080/", "private network"),
        ("https://169.254.169.254/latest/meta-data", "private network"),
        ("https://[::1]/", "private network"),
        ("https://10.1.2.3/", "private network"),
        ("https://[64:ff9b::a9fe:a9fe]/latest/meta-data", "private network"),
    ],
)
def test_the_operators_own_network_is_out_of_reach(desk: Desk, url: str, why: str) -> None:
    desk.top_up()
    row = desk.database.look(lambda tx: tx.execute(sa.select(events)).mappings().one())
    status, said = send(url, event_of(row), 0, [b"x" * 32], private=False)
    assert status == 0
    assert why in said


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # NAT64 of a public one
        ("2002:808:808::1", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::808:808", False),
        ("2002:7f00:1::", False),
        ("2002:a9fe:a9fe::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("100.64.0.1", False),
    ],
)
def test_an_address_is_public_when_what_it_carries_is(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_old_events_are_forgotten_with_what_was_made_of_them(desk: Desk) -> None:
    endpoint_id, _ = desk.listen()
    desk.top_up()
    desk.deliver()
    desk.now_ms += (EVENTS_KEPT_S + 1) * 1000
    desk.top_up("2")
    desk.database.call(delivering.forget, desk.clock)
    assert desk.told() == ["wallet.topped_up"]
    assert desk.deliveries(endpoint_id) == []


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("ftp://host", True),
        ("https://user:pass@host", True),
        ("https://host:99999/", True),
        (f"https://{'a' * 64}.example/", True),
        ("http://host.example/", False),
        ("https://localhost/", False),
        ("https://127.0.0.1/", False),
        ("https://127.1/", False),
        ("https://[64:ff9b::a9fe:a9fe]/", False),
    ],
)
def test_where_nothing_could_be_delivered_nobody_listens(url: str, private: bool) -> None:
    with pytest.raises(FieldInvalid) as refused:
        check_url(url, private=private)
    assert refused.value.field == "url"


@pytest.mark.parametrize(("url", "private"), [("https://8.8.8.8/", False), ("http://127.0.0.1:1/", True)])
def test_where_something_could_be_delivered_somebody_may_listen(url: str, private: bool) -> None:
    check_url(url, private=private)


def test_a_type_that_nothing_has_is_named() -> None:
    with pytest.raises(FieldInvalid, match=r"no\.such"):
        book.check_types(["no.such"])


def test_the_page_for_customers_verifies_what_is_sent_and_lists_every_type(desk: Desk) -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    for kind, told in EVENTS.items():
        assert f"| `{kind}` | {told} |" in page
    shown: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], shown)  # noqa: S102 - it is our own page
    desk.top_up()
    row = desk.database.look(lambda tx: tx.execute(sa.select(events)).mappings().one())
    event, secret = event_of(row), book.new_secret()
    body = body_of(event)
    headers = {
        "webhook-id": event.id,
        "webhook-timestamp": "5",
        "webhook-signature": signed(event.id, 5, body, [secret]),
    }
    assert shown["verified"](shown_secret(secret), headers, body)
    assert not shown["verified"](shown_secret(book.new_secret()), headers, body)
    assert not shown["verified"](shown_secret(secret), headers, body + b" ")
