"""Pages of a store: food delivery and the shop have the same way from a thing to an order."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.apps.store import Goods, Store
from openmaas.apps.simphone.world.pages.page import Ask, Desk, go


class StorePages:
    """One store's pages."""

    def __init__(self, desk: Desk, store: Store) -> None:
        self.desk = desk
        self.store = store
        self.root = f"/{store.name}/"

    def routes(self) -> list[Route]:
        """Its addresses."""
        root = self.root
        gets = {
            "": self.home,
            "section/{number:int}": self.section,
            "goods/{number:int}": self.goods,
            "cart": self.cart,
            "addresses": self.addresses,
            "login": self.login,
            "checkout": self.checkout,
            "confirm": self.confirm,
            "orders": self.orders,
            "orders/{number:int}": self.order,
            "orders/{number:int}/cancel": self.cancel,
        }
        posts = {
            "add": self.add,
            "drop": self.drop,
            "clear": self.clear,
            "addresses": self.add_address,
            "login": self.sign_in,
            "order": self.pay,
            "orders/{number:int}/cancel": self.cancelled,
        }
        return [self.desk.route(root + path, handler) for path, handler in gets.items()] + [
            self.desk.route(root + path, handler, "POST") for path, handler in posts.items()
        ]

    def home(self, ask: Ask) -> Response:
        """Sections, or what a search found."""
        query, sort = ask.text("q"), ask.text("sort")
        found: list[Goods] = []
        if query or not self.store.one_section:
            said = query.casefold()
            found = [each for each in self.store.goods if said in f"{each.section} {each.name}".casefold()]
        return self._draw(
            "store_home", self.desk.words.apps[self.store.name], "/", query=query, **self._sorted(found, sort)
        )

    def section(self, ask: Ask) -> Response:
        """What one restaurant has, or what there is of one kind."""
        section = self.store.sections.get(ask.number)
        goods = [each for each in self.store.goods if each.section == section.name]
        sort = ask.text("sort")
        return self._draw("store_section", section.name, self.root, section=section, **self._sorted(goods, sort))

    def goods(self, ask: Ask) -> Response:
        """One thing, to choose an option of and to put into the cart."""
        goods = self.store.goods.get(ask.number)
        section = self.store.section(goods.section)
        assert section, goods
        return self._draw("store_goods", goods.name, f"{self.root}section/{section.id}", goods=goods)

    def add(self, ask: Ask) -> Response:
        """Into the cart."""
        self.store.add(ask.whole("goods"), ask.text("option"), ask.whole("count"))
        return go(f"{self.root}cart")

    def cart(self, ask: Ask) -> Response:
        """What is in it."""
        return self._draw("store_cart", self.desk.words.ui["cart"], self.root)

    def drop(self, ask: Ask) -> Response:
        """A line out of it."""
        self.store.drop(ask.whole("line"))
        return go(f"{self.root}cart")

    def clear(self, ask: Ask) -> Response:
        """Everything out of it."""
        self.store.clear()
        return go(f"{self.root}cart")

    def addresses(self, ask: Ask) -> Response:
        """Where things can be brought."""
        back = f"{self.root}checkout" if ask.text("from") == "checkout" else self.root
        return self._draw("store_addresses", self.desk.words.ui["addresses"], back)

    def add_address(self, ask: Ask) -> Response:
        """A further one."""
        self.store.add_address(ask.text("label"), ask.text("address"))
        return go(f"{self.root}addresses")

    def login(self, ask: Ask) -> Response:
        """For the person alone."""
        return self._draw("store_login", self.desk.words.ui["sign_in"], f"{self.root}cart", secure=True)

    def sign_in(self, ask: Ask) -> Response:
        """Then on with the order."""
        self.store.sign_in(ask.text("password"))
        return go(f"{self.root}checkout")

    def checkout(self, ask: Ask) -> Response:
        """Which address, which coupon."""
        if not self.store.signed_in:
            return go(f"{self.root}login")
        return self._draw("store_checkout", self.desk.words.ui["checkout"], f"{self.root}cart")

    def confirm(self, ask: Ask) -> Response:
        """All of it once more before money moves."""
        address = self.store.addresses.get(ask.whole("address"))
        coupon = ask.whole("coupon", 0)
        return self._draw(
            "store_confirm",
            self.desk.words.ui["confirm"],
            f"{self.root}checkout",
            address=address,
            coupon=self.store.coupons.get(coupon) if coupon else None,
            note=ask.text("note"),
            cents=self.store.cents(coupon),
        )

    def pay(self, ask: Ask) -> Response:
        """The order is made."""
        order = self.store.order(ask.whole("address"), ask.whole("coupon", 0), ask.text("note"))
        return go(f"{self.root}orders/{order.id}")

    def orders(self, ask: Ask) -> Response:
        """All that was bought."""
        return self._draw("store_orders", self.desk.words.ui["orders"], self.root)

    def order(self, ask: Ask) -> Response:
        """One order."""
        order = self.store.orders.get(ask.number)
        return self._draw("store_order", self.desk.words.ui["order"], f"{self.root}orders", order=order)

    def cancel(self, ask: Ask) -> Response:
        """Asked once more."""
        order = self.store.orders.get(ask.number)
        ui, here = self.desk.words.ui, f"{self.root}orders/{order.id}"
        return self._draw(
            "sure",
            ui["sure"],
            here,
            action=f"{here}/cancel",
            why=ui["sure_cancel"],
            yes=ui["yes_cancel"],
            no=ui["keep"],
        )

    def cancelled(self, ask: Ask) -> Response:
        """It is given back."""
        self.store.cancel(ask.number)
        return go(f"{self.root}orders/{ask.number}")

    def _sorted(self, goods: list[Goods], sort: str) -> dict[str, object]:
        return {"goods": sorted(goods, key=lambda each: each.cents) if sort == "price" else goods, "sort": sort}

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, self.store.name, title, back, store=self.store, root=self.root, **values)
