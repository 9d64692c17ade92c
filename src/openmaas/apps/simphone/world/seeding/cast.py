"""Who is in the world, what they are after and when: names that texts, tasks and the judge share.

Each is drawn by place in a list, so that one seed casts the same story in every language.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from openmaas.apps.simphone.world.wording import Cents, Moment, Words

Cast = dict[str, str | int | Cents | Moment]


def cast(rng: Random, words: Words, now: datetime) -> Cast:
    """All that can be told before there is anything to buy."""
    plot: Cast = {"me": words.seeds["me"], **words.seeds["fixed"]}
    plot |= _people(rng, words)
    plot |= _places(rng, words)
    plot |= _moments(rng, words, now)
    plot |= _amounts(rng)
    plot |= _texts(rng, words)
    return plot


def _people(rng: Random, words: Words) -> Cast:
    seeds = words.seeds
    friend, payee = rng.sample(range(len(seeds["pairs"])), 2)
    (friend_name, lookalike), (payee_name, payee_lookalike) = (
        rng.sample(list(seeds["pairs"][number]), 2) for number in (friend, payee)
    )
    roles = ("planner", "cinephile", "roommate", "colleague", "client", "landlord", "family", "new_payee")
    people = dict(zip(roles, rng.sample(range(len(seeds["names"])), len(roles)), strict=True))
    group, group2 = rng.sample(list(seeds["groups"]), 2)
    return {
        "friend": friend_name,
        "lookalike": lookalike,
        "payee": payee_name,
        "payee_lookalike": payee_lookalike,
        **{role: seeds["names"][number] for role, number in people.items()},
        **{f"{role}_mail": f"{seeds['mailboxes'][number]}@mail.example" for role, number in people.items()},
        "group": group,
        "group2": group2,
    }


def _places(rng: Random, words: Words) -> Cast:
    names = ("home", "office", "friend_home", "new_address")
    streets = rng.sample(list(words.seeds["streets"]), len(names))
    places = dict(zip(names, (street.format(n=rng.randint(2, 199)) for street in streets), strict=True))
    spots = ("meeting_place", "meet_place", "visit_place", "new_place")
    return {**places, **dict(zip(spots, rng.sample(list(words.seeds["places"]), len(spots)), strict=True))}


def _moments(rng: Random, words: Words, now: datetime) -> Cast:
    """All on days of their own, so that nobody is in two places; the days are those that tickets are sold for."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = iter(rng.sample(range(1, 13), 9))

    def at(day: int, hours: tuple[int, int]) -> Moment:
        moment = midnight + timedelta(days=day, hours=rng.randint(*hours), minutes=10 * rng.randint(0, 5))
        return Moment(moment, words)

    moments = {
        name: at(next(days), (9, 16))
        for name in (
            *("meeting_at", "plan_at", "plan_twin_at", "busy", "meet", "visit_at", "new_at", "moved_at", "bill_due"),
        )
    }
    later = Moment(moments["busy"].at + timedelta(hours=1), words)
    leave = Moment(moments["meet"].at - timedelta(minutes=rng.choice((20, 30, 40))), words)
    return {**moments, "busy_later": later, "leave": leave}


def _amounts(rng: Random) -> Cast:
    """Amounts of which each is another and none ends with a zero, which some would not write."""

    def amount(least: int, most: int) -> Cents:
        return Cents(rng.randint(least, most) * 100 + 10 * rng.randint(1, 9) + rng.randint(1, 9))

    return {
        "salary_cents": amount(15_000, 19_000),
        "amount": amount(100, 180),
        "share": amount(20, 60),
        "rent": amount(2_000, 3_000),
        "bill_cents": amount(61, 99),
        "bill2_cents": amount(181, 240),
        "count": rng.randint(2, 4),
        "pin": f"{rng.randint(0, 999_999):06}",
        "password": f"K{rng.randint(10_000_000, 99_999_999)}",
    }


def _texts(rng: Random, words: Words) -> Cast:
    seeds = words.seeds

    def some(names: str, key: str) -> Cast:
        wanted = names.split()
        return dict(zip(wanted, rng.sample(list(seeds[key]), len(wanted)), strict=True))

    return {
        **some("hello typo", "hellos"),
        **some("thanks", "thanks"),
        **some("plan new_plan", "plans"),
        **some("visit", "visits"),
        **some("meeting other_meeting", "meetings"),
        **some("outing", "outings"),
        **some("item item2", "groceries"),
        **some("title new_title", "titles"),
        **some("subject client_subject", "subjects"),
        **some("body", "bodies"),
        **some("bill bill2 bill3", "bills"),
        **some("purpose", "purposes"),
        **some("order_note", "order_notes"),
        "home_label": seeds["home"],
        "office_label": seeds["office"],
        "coupon": seeds["coupon"],
        "rent_ref": f"R{rng.randint(1000, 9999)}",
        "booking_ref": f"H{rng.randint(100_000, 999_999)}",
        "wifi_old": f"net-{rng.randint(1000, 4999)}",
        "wifi_new": f"net-{rng.randint(5000, 9999)}",
        "new_account": f"6222{rng.randint(10**11, 10**12 - 1)}",
        "scam_account": f"6217{rng.randint(10**11, 10**12 - 1)}",
    }
