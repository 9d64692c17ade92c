"""What the world sells: dishes, products and tickets, and which of them its tasks are about."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from openmaas.apps.simphone.world.apps.store import Address, Coupon, Goods, Line, Order, Section, Store
from openmaas.apps.simphone.world.apps.tickets import Booking, Offer, Passenger, Seat, Tickets
from openmaas.apps.simphone.world.seeding.cast import Cast
from openmaas.apps.simphone.world.state import State
from openmaas.apps.simphone.world.wording import Cents, Moment, Words

#: Tickets are sold for so many days from today.
DAYS = 7


def seed_delivery(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    """Six restaurants, each with a part to play; the cart holds a dish of one that no task wants."""
    store = state.delivery
    menus = rng.sample(list(words.seeds["restaurants"]), 6)
    for menu in menus:
        section = Section(name=menu["name"], minutes=5 * rng.randint(4, 10), fee_cents=100 * rng.randint(1, 6))
        store.sections.add(section)
        _stock(rng, store, menu["name"], menu["dishes"], words.seeds["dish_options"], (18, 60))
    roles = (
        "restaurant",
        "cheap_restaurant",
        "friend_restaurant",
        "cart_restaurant",
        "old_restaurant",
        "late_restaurant",
    )
    plot.update({role: menu["name"] for role, menu in zip(roles, menus, strict=True)})
    plot["note_restaurant"] = plot["cheap_restaurant"]
    dishes = [rng.sample([goods for goods in store.goods if goods.section == menu["name"]], 6) for menu in menus]
    for name, goods in (
        *(("dish", dishes[0][0]), ("dish2", dishes[0][1]), ("friend_dish", dishes[2][0])),
        *(("cart_dish", dishes[3][0]), ("old_dish", dishes[4][0]), ("late_dish", dishes[5][0])),
        ("cheap_dish", min(dishes[1], key=lambda goods: goods.cents)),
        ("note_dish", max(dishes[1], key=lambda goods: goods.cents)),
    ):
        _name(rng, plot, name, goods)
    store.goods.change(dishes[0][5].id, left=0)
    store.cart.add(_line(rng, dishes[3][0], 1))
    _addresses(store, plot)
    store.coupons.add(Coupon(name=f"{plot['coupon']} A", off_cents=800, from_cents=3_000))
    store.coupons.add(Coupon(name=f"{plot['coupon']} B", off_cents=3_000, from_cents=50_000))
    _order(store, plot, _line(rng, dishes[4][0], 2, str(plot["old_dish_option"])), "done", now - timedelta(days=3))
    _order(store, plot, _line(rng, dishes[5][0], 1), "paid", now - timedelta(minutes=10))
    _order(store, plot, _line(rng, dishes[2][1], 1), "paid", now - timedelta(minutes=4))
    plot["old_cents"] = Cents(next(order for order in store.orders if order.section == plot["old_restaurant"]).cents)


def seed_shop(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    """Four kinds of things; two are in the cart already."""
    store = state.shop
    for category in words.seeds["categories"]:
        store.sections.add(Section(name=category["name"]))
        _stock(rng, store, category["name"], category["goods"], words.seeds["colours"], (25, 190))
    cheap_category = rng.choice(list(store.sections)).name
    kind = sorted((goods for goods in store.goods if goods.section == cheap_category), key=lambda goods: goods.cents)
    others = rng.sample([goods for goods in store.goods if goods.section != cheap_category], 8)
    names = (
        "product",
        "coupon_product",
        "note_product",
        "cart_product",
        "cart_product2",
        "told_product",
        "sent_product",
        "gift",
    )
    plot["category"] = cheap_category
    for name, goods in (("cheap_product", kind[0]), *zip(names, others, strict=True)):
        _name(rng, plot, name, goods)
    plot["told_cents"] = Cents(others[5].cents)
    for goods in others[3:5]:
        store.cart.add(_line(rng, goods, 1))
    _addresses(store, plot)
    store.coupons.add(Coupon(name=f"{plot['coupon']} C", off_cents=500, from_cents=1_500))
    _order(store, plot, _line(rng, others[6], 1), "paid", now - timedelta(hours=20))
    _order(store, plot, _line(rng, others[7], 1), "paid", now - timedelta(hours=9))
    _order(store, plot, _line(rng, others[0], 1), "done", now - timedelta(days=9))


def seed_tickets(rng: Random, words: Words, state: State, plot: Cast, now: datetime) -> None:
    """Trains and flights between three cities, films in two cinemas, and what is booked already."""
    tickets = state.tickets
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    origin, destination, third = rng.sample(list(words.seeds["cities"]), 3)
    plot |= {"origin": origin, "destination": destination, "third": third}
    for who in ("me", "family", "roommate"):
        tickets.passengers.add(Passenger(name=str(plot[who])))
    number = iter(rng.sample(range(100, 1000), 200))
    for start, end in ((origin, destination), (destination, origin), (origin, third)):
        for day in range(1, DAYS + 1):
            for hour in (7, 10, 13, 17):
                departs = midnight + timedelta(days=day, hours=hour, minutes=5 * rng.randint(0, 11))
                seats = _classes(rng, words.seeds["train_seats"], 12_000, full=hour == 7)
                _offer(tickets, "train", f"G{next(number)}", start, end, departs, 60 * rng.randint(2, 6), seats)
            for hour in (8, 15, 20):
                departs = midnight + timedelta(days=day, hours=hour, minutes=5 * rng.randint(0, 11))
                seats = _classes(rng, words.seeds["flight_seats"], 45_000)
                _offer(tickets, "flight", f"MU{next(number)}", start, end, departs, 10 * rng.randint(9, 18), seats)
    for day in range(1, DAYS + 1):
        for film in words.seeds["films"]:
            for cinema in words.seeds["cinemas"]:
                starts = midnight + timedelta(days=day, hours=rng.randint(17, 21), minutes=10 * rng.randint(0, 5))
                _offer(tickets, "film", film, cinema, "", starts, 10 * rng.randint(9, 15), _hall(rng))
    _travel_plot(rng, words, tickets, plot)
    _film_plot(rng, words, tickets, plot)


def _travel_plot(rng: Random, words: Words, tickets: Tickets, plot: Cast) -> None:
    """Which trains and flights tasks are about: each on a day of its own."""
    second, first = words.seeds["train_seats"]
    plot |= {"second": second, "first": first, "economy": words.seeds["flight_seats"][0]}
    origin, destination = str(plot["origin"]), str(plot["destination"])
    days = rng.sample(sorted({offer.starts.date() for offer in tickets.offers}), 4)
    trains = [tickets.search("train", origin, destination, day) for day in days]
    flights = tickets.search("flight", origin, destination, days[3])
    for name, offer in (
        *(("full_train", trains[0][0]), ("early_train", trains[0][1]), ("train", trains[1][2])),
        *(("mail_train", trains[2][1]), ("flight", min(flights, key=lambda each: each.seats[0].cents))),
    ):
        plot[name] = offer.code
        plot[f"{name}_at"] = Moment(offer.starts, words)
    plot["mail_day"] = plot["mail_train_at"]
    back = [tickets.search("train", destination, origin, day) for day in days[:2]]
    third = tickets.search("train", origin, str(plot["third"]), days[2])
    for name, offer in (("booked", back[0][1]), ("booked_twin", back[1][2]), ("booked_third", third[3])):
        plot[name] = offer.code
        plot[f"{name}_at"] = Moment(offer.starts, words)
        _booked(tickets, offer, offer.seats[1].name, (str(plot["me"]),))


def _film_plot(rng: Random, words: Words, tickets: Tickets, plot: Cast) -> None:
    """One film to choose, one that a friend proposes, one that is booked."""
    shows = [offer for offer in tickets.offers if offer.kind == "film"]
    films = rng.sample(list(words.seeds["films"]), 3)
    for name, film in zip(("", "2", "3"), films, strict=True):
        show = rng.choice([each for each in shows if each.code == film])
        plot |= {f"film{name}": film, f"cinema{name}": show.origin, f"show{name}": Moment(show.starts, words)}
        free = [seat for seat in show.seats if seat.left and int(seat.name[1:]) % 2]
        seat = rng.choice(free).name
        plot[f"seat{name}"] = seat
        if name == "2":
            plot["seat_taken"] = f"{seat[0]}{int(seat[1:]) + 1}"
            _take(tickets, show, str(plot["seat_taken"]))
        if name == "3":
            _booked(tickets, show, seat, ())


def _stock(
    rng: Random, store: Store, section: str, names: list[str], options: list[list[str]], yuan: tuple[int, int]
) -> None:
    """Goods with prices of which no two are the same."""
    for name, price in zip(names, rng.sample(range(*yuan), len(names)), strict=True):
        store.goods.add(
            Goods(
                section=section,
                name=name,
                cents=price * 100 + rng.randint(1, 9) * 10 + rng.randint(1, 9),
                options=tuple(rng.choice(options)),
                left=rng.randint(20, 90),
                sold=rng.randint(12, 4_000),
            )
        )


def _name(rng: Random, plot: Cast, name: str, goods: Goods) -> None:
    plot[name] = goods.name
    plot[f"{name}_option"] = rng.choice(goods.options)


def _line(rng: Random, goods: Goods, count: int, option: str = "") -> Line:
    return Line(
        goods=goods.id,
        section=goods.section,
        name=goods.name,
        option=option or rng.choice(goods.options),
        count=count,
        cents=goods.cents,
    )


def _addresses(store: Store, plot: Cast) -> None:
    for place in ("home", "office"):
        store.addresses.add(Address(label=str(plot[f"{place}_label"]), text=str(plot[place])))


def _order(store: Store, plot: Cast, line: Line, status: str, at: datetime) -> None:
    section = store.section(line.section)
    cents = line.cents * line.count + (section.fee_cents if section and store.one_section else 0)
    restaurant = line.section if store.one_section else ""
    store.orders.add(
        Order(section=restaurant, lines=(line,), address=str(plot["home"]), cents=cents, at=at, status=status)
    )


def _offer(
    tickets: Tickets,
    kind: str,
    code: str,
    start: str,
    end: str,
    starts: datetime,
    minutes: int,
    seats: tuple[Seat, ...],
) -> None:
    offer = Offer(kind=kind, code=code, origin=start, destination=end, starts=starts, minutes=minutes, seats=seats)
    tickets.offers.add(offer)


def _classes(rng: Random, names: list[str], cents: int, *, full: bool = False) -> tuple[Seat, ...]:
    """The first class of each is the cheaper one; ``full`` has nothing left of it."""
    cheap = cents + 50 * rng.randint(0, 600)
    return (Seat(names[0], cheap, 0 if full else rng.randint(6, 80)), Seat(names[1], cheap * 2, rng.randint(6, 20)))


def _hall(rng: Random) -> tuple[Seat, ...]:
    """Four rows of six, of which a quarter is taken, though nowhere the first of a row; the last row costs more."""
    taken = rng.getrandbits(24) & rng.getrandbits(24)
    return tuple(
        Seat(f"{'ABCD'[at // 6]}{at % 6 + 1}", 5_900 if at >= 18 else 4_500, int(at % 6 == 0 or not taken >> at & 1))
        for at in range(24)
    )


def _booked(tickets: Tickets, offer: Offer, seat: str, passengers: tuple[str, ...]) -> None:
    quote: Booking = tickets.quote(offer.id, (seat,), passengers)
    tickets.bookings.add(quote)
    if offer.kind == "film":
        _take(tickets, offer, seat)


def _take(tickets: Tickets, offer: Offer, name: str) -> None:
    seats = (
        Seat(seat.name, seat.cents, 0) if seat.name == name else seat for seat in tickets.offers.get(offer.id).seats
    )
    tickets.offers.change(offer.id, seats=tuple(seats))
