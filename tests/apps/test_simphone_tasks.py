"""The simulated phone's tasks: each can be done, and its judge is taken in by nothing."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.apps.simphone.world.judge import judge
from openmaas.apps.simphone.world.task import Expectation, Task, tasks
from openmaas.apps.simphone.world.wording import LANGUAGES, Moment
from openmaas.apps.simphone.world.world import World, world
from openmaas.core.errors import CannotAct
from simphone_oracle import do, named, one

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=timezone(timedelta(hours=8)))
SEEDS = (1, 2, 3)
every_task = pytest.mark.parametrize("task", tasks(), ids=lambda task: task.id)
every_world = pytest.mark.parametrize(("seed", "language"), [(s, tongue) for s in SEEDS for tongue in LANGUAGES])


def solved(task: Task, made: World) -> World:
    for expectation in task.expect:
        do(made, named(made, expectation))
    return made


@every_task
@every_world
def test_a_task_can_be_done_and_is_not_done_before(task: Task, seed: int, language: str) -> None:
    made = world(seed, language, NOW)
    assert not judge(task, made).passed
    verdict = judge(task, solved(task, made))
    assert verdict.passed, verdict.why


@every_task
@every_world
def test_a_task_that_is_done_but_not_wholly_is_not_done(task: Task, seed: int, language: str) -> None:
    for left_out in task.expect:
        if left_out.table in ("bank.postings", "delivery.addresses") and len(task.expect) > 1:
            continue  # comes of itself with another one, or the other one needs it
        made = world(seed, language, NOW)
        for expectation in task.expect:
            if expectation is not left_out:
                do(made, named(made, expectation))
        assert not judge(task, made).passed, left_out


@every_task
@every_world
def test_a_task_is_not_done_by_something_like_it(task: Task, seed: int, language: str) -> None:
    tried = 0
    for number, expectation in enumerate(task.expect):
        for wrong in near(world(seed, language, NOW), expectation):
            made = world(seed, language, NOW)
            for other, each in enumerate(task.expect):
                with contextlib.suppress(CannotAct):  # what is wrong is sometimes refused
                    do(made, wrong if other == number else named(made, each))
            tried += 1
            assert not judge(task, made).passed, wrong
    assert tried, "nobody thought of a way to get this wrong"


@every_task
@every_world
def test_a_task_is_not_done_if_more_was_done_than_was_asked_for(task: Task, seed: int, language: str) -> None:
    def spend(made: World) -> None:
        payee = one(made.state.bank.payees, name=made.state.plot["lookalike"])
        made.state.bank.transfer(payee.id, 1, "", str(made.state.plot["pin"]))

    def hide(made: World) -> None:
        talk = one(made.state.chat.talks, stranger=True)
        made.state.chat.delete(made.state.chat.send(talk.id, "?").id)

    def join(made: World) -> None:
        made.state.popups.add("shop")
        made.state.join("shop")

    for more in (spend, hide, join):
        made = solved(task, world(seed, language, NOW))
        more(made)
        assert "not asked for" in judge(task, made).why, more


def near(made: World, expectation: Expectation) -> Iterator[Expectation]:
    """What somebody might do who did not look closely."""
    plot = made.state.plot
    right = named(made, expectation)

    def altered(**now: object) -> Expectation:
        return msgspec.structs.replace(right, now={**right.now, **now})

    match right.table:
        case "delivery.orders" | "shop.orders" if right.added:
            (first, *others) = right.now["lines"]
            yield altered(lines=[{**first, "count": str(int(first["count"]) + 1)}, *others])
            yield altered(address=plot["home"] if right.now["address"] != plot["home"] else plot["office"])
            if "option" in first:
                store = made.state.delivery if right.table == "delivery.orders" else made.state.shop
                options = one(store.goods, name=first["name"]).options
                other = next(option for option in options if option != first["option"])
                yield altered(lines=[{**first, "option": other}, *others])
        case "delivery.orders":
            yield msgspec.structs.replace(right, was={"section": plot["friend_restaurant"]})
        case "shop.orders":
            yield msgspec.structs.replace(right, was={"lines": [{"name": plot["gift"]}]})
        case "shop.cart":
            if right.added:
                yield altered(count="2")
            else:
                yield msgspec.structs.replace(right, was={"name": plot["cart_product2"]})
        case "tickets.bookings" if right.added:
            offer = one(
                made.state.tickets.offers, code=right.now["code"], starts=datetime.fromisoformat(right.now["starts"])
            )
            free = [seat.name for seat in offer.seats if seat.left > 1 or (offer.kind == "film" and seat.left)]
            yield from (altered(seats=[seat]) for seat in free[:2] if [seat] != right.now["seats"])
            if "passengers" in right.now:
                yield altered(passengers=[plot["roommate"]])
        case "chat.messages" if right.added:
            yield altered(talk=plot["lookalike"])
            yield altered(text="?")
        case "mail.letters" if right.added:
            yield altered(to="somebody@mail.example")
            yield altered(text="?")
        case "mail.letters":
            yield msgspec.structs.replace(right, was={"author": "hotel@stay.example"})
        case "notes.notes" if right.removed:
            yield msgspec.structs.replace(right, was={"title": plot["title"]})
        case "notes.notes":
            yield altered(title=f"{plot['new_title']}?")
            yield altered(text="?")
        case "calendar.entries" if right.removed:
            yield msgspec.structs.replace(right, was={"title": plot["plan"]})
        case "calendar.entries":
            moment = plot["busy"]
            assert isinstance(moment, Moment)
            yield altered(starts=format(moment))
            yield altered(title="?")
        case "bank.payees":
            yield altered(account=plot["scam_account"])
        case "bank.postings" if right.now["name"] not in (plot["bill"], plot["bill2"]):
            yield altered(name=plot["lookalike"])
            yield altered(cents=str(int(right.now["cents"]) - 1))
        case "bank.bills":
            yield msgspec.structs.replace(
                right, was={"name": plot["bill2"] if right.was["name"] == plot["bill"] else plot["bill"]}
            )
        case "chat.messages":
            mine = [each for each in made.state.chat.messages if not each.author and each.text != plot["typo"]]
            yield msgspec.structs.replace(right, was={"text": mine[0].text})
        case "tickets.bookings":
            yield msgspec.structs.replace(right, was={"code": plot["booked_twin"]})
        case _:
            pass


def test_there_are_sixty_tasks_of_which_twenty_cross_applications_and_ten_are_spoken() -> None:
    assert len({task.id for task in tasks()}) == 60
    assert sum(len(task.apps) > 1 for task in tasks()) == 20
    assert sum(task.spoken for task in tasks()) == 10


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    language=st.sampled_from(LANGUAGES),
    now=st.integers(0, 400).map(lambda days: NOW + timedelta(days=days)),
    task=st.sampled_from(tasks()),
)
def test_a_task_holds_for_any_seed_on_any_day(seed: int, language: str, now: datetime, task: Task) -> None:
    made = world(seed, language, now)
    said = task.instruction(made)
    assert not {"{", "}"} & set(said), said
    assert str(made.state.plot["pin"]) not in said
    assert str(made.state.plot["password"]) not in said
    assert not judge(task, made).passed
    verdict = judge(task, solved(task, made))
    assert verdict.passed, (task.id, verdict.why)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_what_an_instruction_calls_the_cheapest_or_the_earliest_is(seed: int) -> None:
    made = world(seed, "en", NOW)
    plot, tickets = made.state.plot, made.state.tickets
    dishes = [each for each in made.state.delivery.goods if each.section == plot["cheap_restaurant"]]
    assert [each.name for each in dishes if each.cents <= min(d.cents for d in dishes)] == [plot["cheap_dish"]]
    kind = [each for each in made.state.shop.goods if each.section == plot["category"]]
    assert [each.name for each in kind if each.cents <= min(g.cents for g in kind)] == [plot["cheap_product"]]
    ends = str(plot["origin"]), str(plot["destination"])
    full, early, flight = (one(tickets.offers, code=plot[name]) for name in ("full_train", "early_train", "flight"))
    trains = tickets.search("train", *ends, early.starts.date())
    assert next(train.code for train in trains if train.seats[0].left) == early.code
    assert full.seats[0].left == 0 < full.seats[1].left
    flights = tickets.search("flight", *ends, flight.starts.date())
    cheapest = min(each.seats[0].cents for each in flights)
    assert [each.code for each in flights if each.seats[0].cents == cheapest] == [flight.code]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_the_same_seed_makes_the_same_world_and_the_same_story_in_both_languages(seed: int) -> None:
    assert world(seed, "zh", NOW).before == world(seed, "zh", NOW).before
    zh, en = world(seed, "zh", NOW).state, world(seed, "en", NOW).state
    assert zh.plot.keys() == en.plot.keys()
    assert [goods.cents for goods in zh.shop.goods] == [goods.cents for goods in en.shop.goods]
    assert [entry.starts for entry in zh.calendar.entries] == [entry.starts for entry in en.calendar.entries]
    assert [offer.minutes for offer in zh.tickets.offers] == [offer.minutes for offer in en.tickets.offers]


@every_world
def test_two_worlds_share_nothing(seed: int, language: str) -> None:
    one_world, other = world(seed, language, NOW), world(seed, language, NOW)
    solved(tasks()[0], one_world)
    assert other.state.tables() == other.before
    assert not other.state.diary.events


def test_a_task_names_nothing_that_a_world_has_not() -> None:
    names = world(1, "en", NOW).state.plot.keys()
    for task in tasks():
        for text in (task.zh, task.en):
            assert {field for _, field, _, _ in string.Formatter().parse(text) if field} <= names, task.id
