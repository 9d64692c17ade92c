"""What people wrote, noted, planned and owe: the texts of a language's file, with this world's names in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from openmaas.apps.simphone.world.apps.bank import Bill, Payee, Posting
from openmaas.apps.simphone.world.apps.calendar import Entry
from openmaas.apps.simphone.world.apps.chat import Message, Talk, Unread
from openmaas.apps.simphone.world.apps.mail import Letter
from openmaas.apps.simphone.world.apps.notes import Note
from openmaas.apps.simphone.world.seeding.cast import Cast
from openmaas.apps.simphone.world.state import State
from openmaas.apps.simphone.world.wording import Cents, Moment, Words


def seed_stories(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    """Chat, mail, notes, calendar and bank."""
    _chat(rng, words, state, plot, now)
    _mail(rng, words, state, plot, now)
    for note in words.seeds["notes"]:
        state.notes.notes.add(Note(title=note["title"].format_map(plot), text=note["text"].format_map(plot)))
    for entry in words.seeds["entries"]:
        state.calendar.entries.add(
            Entry(
                title=entry["title"].format_map(plot),
                starts=_moment(plot, entry["at"]),
                place=entry["place"].format_map(plot),
                reminder_minutes=entry["reminder"],
            )
        )
    _bank(rng, words, state, plot, now)


def _chat(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    at = now - timedelta(days=1)
    for talk in rng.sample(list(words.seeds["talks"]), len(words.seeds["talks"])):
        name = talk["who"].format_map(plot)
        members = tuple(member.format_map(plot) for member in talk.get("members", ()))
        state.chat.talks.add(Talk(name=name, members=members, stranger=talk.get("stranger", False)))
        state.chat.unread.add(Unread(count=talk["unread"]))
        for who, text in talk["lines"]:
            at += timedelta(minutes=rng.randint(1, 25))
            author = {"me": "", "them": name}.get(who, who.format_map(plot))
            state.chat.messages.add(Message(talk=name, author=author, text=text.format_map(plot), at=at))


def _mail(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    letters = words.seeds["letters"]
    at = now - timedelta(days=2)
    for letter in rng.sample(list(letters), len(letters)):
        at += timedelta(minutes=rng.randint(20, 180))
        put = state.mail.put(
            Letter(
                folder=letter.get("folder", "inbox"),
                author=letter.get("author", "").format_map(plot),
                to=letter.get("to", "me@mail.example").format_map(plot),
                subject=letter["subject"].format_map(plot),
                text=letter["text"].format_map(plot),
                at=at,
            )
        )
        if letter.get("seen"):
            state.mail.seen.change(put.id, seen=True)


def _bank(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    names = [str(plot[who]) for who in ("friend", "lookalike", "payee", "payee_lookalike", "landlord")]
    for name in rng.sample(names, len(names)):
        state.bank.payees.add(Payee(name=name, account=f"6225{rng.randint(10**11, 10**12 - 1)}"))
    due = _moment(plot, "bill_due")
    for name, amount, paid in (
        ("bill", "bill_cents", False),
        ("bill2", "bill2_cents", False),
        ("bill3", "share", True),
    ):
        state.bank.bills.add(Bill(name=str(plot[name]), cents=_cents(plot, amount), due=due, paid=paid))
    salary = Posting(name=words.seeds["salary"], account="", cents=_cents(plot, "salary_cents"), note="", at=now)
    for days, posting in (
        (20, salary),
        (12, Posting(name=str(plot["bill3"]), account="", cents=-_cents(plot, "share"), note="", at=now)),
    ):
        state.bank.postings.add(
            Posting(name=posting.name, account="", cents=posting.cents, note="", at=now - timedelta(days=days))
        )
    plot["balance"] = Cents(state.bank.balance_cents)
    for payee in state.bank.payees:
        if payee.name == plot["landlord"]:
            plot["landlord_account"] = payee.account


def _moment(plot: Cast, name: str) -> datetime:
    moment = plot[name]
    assert isinstance(moment, Moment)
    return moment.at


def _cents(plot: Cast, name: str) -> int:
    amount = plot[name]
    assert isinstance(amount, Cents)
    return amount.cents
