"""A store: things in sections, a cart, addresses, coupons and orders. Food delivery is one, the shop is another.

What sets them apart is two rules: a delivery's cart holds dishes of one restaurant, as the same rider brings them, and
the shop wants its password before an order.
"""

from __future__ import annotations

from datetime import datetime

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need
from openmaas.core import bounds


class Section(Record, frozen=True):
    """A restaurant or a kind of thing."""

    name: str
    minutes: int = 0
    fee_cents: int = 0


class Goods(Record, frozen=True):
    """A dish or a product. ``left`` is how many there are."""

    section: str
    name: str
    cents: int
    options: tuple[str, ...]
    left: int
    sold: int


class Address(Record, frozen=True):
    """Where things are brought."""

    label: str
    text: str


class Coupon(Record, frozen=True):
    """So much off an order of at least so much, once."""

    name: str
    off_cents: int
    from_cents: int


class Line(Record, frozen=True):
    """So many of one thing, in a cart or an order."""

    goods: int
    section: str
    name: str
    option: str
    count: int
    cents: int  # of one


class Order(Record, frozen=True):
    """What was bought. ``section`` is the restaurant; a shop's order has none."""

    section: str
    lines: tuple[Line, ...]
    address: str
    cents: int
    at: datetime
    coupon: str = ""
    note: str = ""
    status: str = "paid"  # paid, done or cancelled


class Store:
    """One store and what its customer did there."""

    def __init__(self, name: str, diary: Diary, *, one_section: bool = False, password: str = "") -> None:
        self.name = name
        self.one_section = one_section
        self.sections: Table[Section] = Table()
        self.goods: Table[Goods] = Table()
        self.addresses: Table[Address] = Table()
        self.coupons: Table[Coupon] = Table()
        self.cart: Table[Line] = Table()
        self.orders: Table[Order] = Table()
        self.signed_in = not password
        self._password = password
        self._diary = diary

    def section(self, name: str) -> Section | None:
        """The section of this name."""
        return next((each for each in self.sections if each.name == name), None)

    def add(self, goods_id: int, option: str, count: int) -> Line:
        """Into the cart; the same thing with the same option becomes one line."""
        goods = self.goods.get(goods_id)
        need(option in goods.options, "no_option")
        need(1 <= count <= bounds.SIM_COUNT_MAX, "count")
        need(not self.one_section or all(line.section == goods.section for line in self.cart), "other_restaurant")
        same = next((line for line in self.cart if (line.goods, line.option) == (goods_id, option)), None)
        count += same.count if same else 0
        need(count <= min(goods.left, bounds.SIM_COUNT_MAX), "sold_out")
        if same:
            line = self.cart.change(same.id, count=count)
        else:
            line = self.cart.add(
                Line(
                    goods=goods_id,
                    section=goods.section,
                    name=goods.name,
                    option=option,
                    count=count,
                    cents=goods.cents,
                )
            )
        self._diary.tell(self.name, "add", line)
        return line

    def drop(self, line_id: int) -> None:
        """Out of the cart."""
        self._diary.tell(self.name, "drop", self.cart.remove(line_id))

    def clear(self) -> None:
        """Everything out of the cart."""
        for line in self.cart:
            self.drop(line.id)

    def add_address(self, label: str, text: str) -> Address:
        """A further address."""
        need(label and text, "empty")
        address = self.addresses.add(Address(label=label, text=text))
        self._diary.tell(self.name, "add_address", address)
        return address

    def cents(self, coupon_id: int = 0) -> int:
        """What the cart costs, with the fee, less the coupon."""
        goods = sum(line.cents * line.count for line in self.cart)
        first = next(iter(self.cart), None)
        section = self.section(first.section) if first and self.one_section else None
        cents = goods + (section.fee_cents if section else 0)
        if coupon_id:
            coupon = self.coupons.get(coupon_id)
            need(goods >= coupon.from_cents, "coupon_minimum")
            cents -= min(coupon.off_cents, cents)
        return cents

    def sign_in(self, password: str) -> None:
        """What only the person can do."""
        need(password == self._password, "wrong_password")
        self.signed_in = True

    def order(self, address_id: int, coupon_id: int = 0, note: str = "") -> Order:
        """Pay for what is in the cart."""
        need(self.signed_in, "signed_out")
        need(len(self.cart), "cart_empty")
        address, cents = self.addresses.get(address_id), self.cents(coupon_id)
        lines = tuple(self.cart)
        order = self.orders.add(
            Order(
                section=lines[0].section if self.one_section else "",
                lines=lines,
                address=address.text,
                cents=cents,
                at=self._diary.now,
                coupon=self.coupons.remove(coupon_id).name if coupon_id else "",
                note=note,
            )
        )
        for line in lines:
            self.goods.change(line.goods, left=self.goods.get(line.goods).left - line.count)
            self.cart.remove(line.id)
        self._diary.tell(self.name, "order", order)
        return order

    def cancel(self, order_id: int) -> None:
        """Give an order back that has not come yet."""
        need(self.orders.get(order_id).status == "paid", "too_late")
        self._diary.tell(self.name, "cancel", self.orders.change(order_id, status="cancelled"))
