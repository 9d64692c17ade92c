"""Does a simulated phone's tasks by calling the state's functions: it reads what is expected, and sees no page.

What is expected may be altered before: then this does the wrong thing just as well, and a judge must notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from openmaas.apps.simphone.world.apps.calendar import Entry
from openmaas.apps.simphone.world.apps.store import Store
from openmaas.apps.simphone.world.apps.table import Record
from openmaas.apps.simphone.world.task import Expectation
from openmaas.apps.simphone.world.world import World


def told(value: Any, world: World) -> Any:
    """What is expected, with this world's names in it; what a text must have becomes a text that has it."""
    match value:
        case {"has": parts}:
            return " ".join(told(part, world) for part in parts)
        case dict():
            return {name: told(each, world) for name, each in value.items()}
        case list():
            return [told(each, world) for each in value]
        case _:
            return value.format_map(world.state.plot)


def named(world: World, expectation: Expectation) -> Expectation:
    """The expectation of this very world."""
    return msgspec.structs.replace(expectation, was=told(expectation.was, world), now=told(expectation.now, world))


def do(world: World, wanted: Expectation) -> None:
    """Let it come true."""
    state, now = world.state, wanted.now
    match wanted.added or wanted.changed or wanted.removed:
        case "delivery.orders" | "shop.orders" | "delivery.addresses" | "shop.cart":
            _shop(world, wanted)
        case "tickets.bookings" if wanted.added:
            wished = {name: now[name] for name in ("code", "origin") if name in now}
            offer = one(state.tickets.offers, **wished, starts=datetime.fromisoformat(now["starts"]))
            state.tickets.book(offer.id, tuple(now["seats"]), tuple(now.get("passengers", ())))
        case "tickets.bookings":
            state.tickets.cancel(one(state.tickets.bookings, **wanted.was).id)
        case "chat.messages" if wanted.added:
            state.chat.send(one(state.chat.talks, name=now["talk"]).id, now["text"])
        case "chat.messages":
            state.chat.delete(one(state.chat.messages, **wanted.was).id)
        case "mail.letters" if wanted.added:
            state.mail.send(now["to"], now["subject"], now["text"])
        case "mail.letters":
            state.mail.move(one(state.mail.letters, **wanted.was, folder="inbox").id, now["folder"])
        case "notes.notes":
            _note(world, wanted)
        case "calendar.entries":
            _plan(world, wanted)
        case "bank.payees":
            state.bank.add_payee(now["name"], now["account"])
        case "bank.postings" if not one_or_none(state.bank.bills, name=now["name"]):
            payee = one(state.bank.payees, name=now["name"])
            state.bank.transfer(payee.id, -int(now["cents"]), now.get("note", ""), str(state.plot["pin"]))
        case "bank.postings":
            pass  # comes with the bill
        case "bank.bills":
            state.bank.pay(one(state.bank.bills, **wanted.was).id, str(state.plot["pin"]))
        case other:
            raise AssertionError(other)


def one(records: Iterable[Record], **fields: object) -> Any:
    """The first record that has these."""
    found = one_or_none(records, **fields)
    assert found is not None, fields
    return found


def one_or_none(records: Iterable[Record], **fields: object) -> Any:
    """The first record that has these, if there is one."""
    return next((each for each in records if all(getattr(each, name) == fields[name] for name in fields)), None)


def _shop(world: World, wanted: Expectation) -> None:
    store: Store = getattr(world.state, wanted.table.partition(".")[0])
    now = wanted.now
    if wanted.table == "delivery.addresses":
        store.add_address("x", now["text"])
    elif wanted.table == "shop.cart" and wanted.removed:
        store.drop(one(store.cart, **wanted.was).id)
    elif wanted.table == "shop.cart":
        goods = one(store.goods, name=now["name"])
        store.add(goods.id, goods.options[0], int(now["count"]))
    elif wanted.changed:
        wished = wanted.was.get("section") or wanted.was["lines"][0]["name"]
        store.cancel(next(each for each in store.orders if wished in (each.section, each.lines[0].name)).id)
    else:
        store.clear()
        if not store.signed_in:
            store.sign_in(str(world.state.plot["password"]))
        for line in now["lines"]:
            goods = one(store.goods, name=line["name"])
            store.add(goods.id, line.get("option", goods.options[0]), int(line["count"]))
        coupon = one(store.coupons, name=now["coupon"]).id if "coupon" in now else 0
        store.order(one(store.addresses, text=now["address"]).id, coupon, now.get("note", ""))


def _note(world: World, wanted: Expectation) -> None:
    notes, now = world.state.notes, wanted.now
    if wanted.added:
        notes.create(now["title"], now["text"])
        return
    note = one(notes.notes, **wanted.was)
    if wanted.removed:
        notes.delete(note.id)
    else:
        notes.edit(note.id, now.get("title", note.title), now.get("text", note.text))


def _plan(world: World, wanted: Expectation) -> None:
    calendar, now = world.state.calendar, dict(wanted.now)
    if "starts" in now:
        now["starts"] = datetime.fromisoformat(now["starts"])
    if "reminder_minutes" in now:
        now["reminder_minutes"] = int(now["reminder_minutes"])
    if wanted.added:
        calendar.create(Entry(**now))
        return
    entry = one(calendar.entries, **wanted.was)
    if wanted.removed:
        calendar.delete(entry.id)
    else:
        calendar.edit(entry.id, msgspec.structs.replace(entry, **now))
