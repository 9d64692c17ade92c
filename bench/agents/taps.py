"""Wishes of the rule policy that find the right thing and tap on it: buttons, links, menus, mails, posts, numbers.

Each is a generator as those of ``forms.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bench.agents.forms import at, nth
from bench.agents.policies import FIELDS, WAIT, Answer, Item, Page, typed

SHAPES = {"rectangle": "rect", "square": "rect", "circle": "circle", "triangle": "polygon"}
#: Words of mail tasks that begin with a capital and are nobody's name.
NO_NAMES = {
    *("Find", "Send", "Go", "Open", "Delete", "Will", "Forward"),
    *("Reply", "Please", "Click", "The", "Locate", "I", "Star"),
}


def press(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for name in filter(None, found.groups()):
        if name.isdigit():
            yield from ({**WAIT, "why": f"wait {part}"} for part in range(4 * int(name)))
            continue
        yield from page.tap({"x": "Close"}.get(name, name) if not page.named(name, "button") else name)


def link(found: re.Match[str], page: Page) -> Iterator[Answer]:
    link = next((item for item in page.all("link", "button", "text") if item.text == found[1]), None)
    if link:
        yield page.on(link)
    else:
        yield from (page.on(item) for item in page.all("tab"))
        yield from (page.on(item) for item in page.all("link") if item.text.startswith("Tab"))


def menu(found: re.Match[str], page: Page) -> Iterator[Answer]:
    *above, last = found[1].split(">")
    for name in above:
        yield from ({**answer, "action": "hover"} for answer in page.tap(name, "menuitem"))
    yield from page.tap(last, "menuitem")


def sub_menu(found: re.Match[str], page: Page) -> Iterator[Answer]:
    item = page.named(found[1], "menuitem")
    items = page.all("menuitem")
    if item or not items:
        yield page.on(item or page.named("Menu", "button"))
    yield from ({**page.on(item), "action": "hover"} for item in items)


def tree(found: re.Match[str], page: Page) -> Iterator[Answer]:
    if item := page.named(found[1], "button", "text"):
        yield page.on(item)
    for item in page.items:
        if "expandable" in item.text:
            yield page.again(page.on(item))


def mail(found: re.Match[str], page: Page) -> Iterator[Answer]:
    said = found.string
    names = [name for name in re.findall(r"\b[A-Z][a-z]+\b", re.sub(r'"[^"]*"', "", said)) if name not in NO_NAMES]
    texts = re.findall(r'"([^"]*)"|that it (.+?)[.?]?$|with the text (.+?)\.?$', said)
    text = next((part for parts in texts for part in parts if part), "").strip('"')
    senders = [name for name in names if page.named(name)] or names
    forward = re.search(r"forward|[Ss]end|pass", said) and len(names) > 1
    sender, to = (
        (names[1], names[0]) if re.search(r"^Send to|^Forward to", said) and forward else (senders[0], names[-1])
    )
    if not (page.named("close-email") or page.named("send-forward") or page.named("send-reply")):
        yield from page.tap(sender, "button", "text")
    if re.search(r"[Dd]elete|trash", said):
        yield from page.tap("trash")
    elif re.search(r"star|important", said):
        yield from page.tap("star")
    elif forward and not text:
        if not page.named("send-forward"):
            yield from page.tap("Forward", "button", "text")
        yield from (typed(item, to) for item in page.all("textbox")[:1])
        yield from page.tap("send-forward")
    else:
        if not page.named("send-reply"):
            yield from page.tap("Reply", "button", "text")
        yield from (typed(item, text) for item in page.all("textbox")[-1:])
        yield from page.tap("send-reply")


def social(found: re.Match[str], page: Page) -> Iterator[Answer]:
    user, button = (found["user"], found["button"])
    many = {"all": 99, "": 1}.get(found.groupdict().get("many") or "") or int(found["many"])
    icon = {"Reply": "reply", "Like": "like", "Retweet": "retweet", "Share": "share"}.get(button, "more")
    done = [str(answer.get("why")) for answer in page.history]
    names = [place for place, item in enumerate(page.items) if item.text == user]
    for which, place in enumerate(names[:many]):
        rest = page.items[place:]
        tapped = next((item for item in rest if item.text.split(" ")[0] == icon), None)
        choice = next((item for item in rest if item.text == button), None)
        if tapped and f"{icon} {which}" not in done:
            yield {**page.on(tapped), "why": f"{icon} {which}"}
        if choice and icon == "more":
            yield page.on(choice)
    if "Submit" in found.string:
        yield from () if page.named("Submit") else page.down()
        yield from page.submit()
    elif not names:
        yield from page.down()


def contact(found: re.Match[str], page: Page) -> Iterator[Answer]:
    if page.named(found[1], "heading"):
        word = found[2].split(" ")[0].capitalize()
        item = page.after(f"{word}:", "link")
        yield from [page.on(item)] if item else []
    else:
        yield page.again(page.on(page.named(">", "link")))


def results(found: re.Match[str], page: Page) -> Iterator[Answer]:
    place = nth(found[2])
    for item in page.all(*FIELDS)[:1]:
        yield from page.fill(item, found[1])
    yield from page.tap("Search", "button")
    links = [item for item in page.all("link") if not re.fullmatch(r"\d+|[<>]", item.text)]
    if place >= 3 and (number := page.named(str(place // 3 + 1), "link")):
        yield page.on(number)
    yield from (page.on(item) for item in at(links, place % 3))


def parity(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for place, item in enumerate(page.items):
        if item.role == "text" and re.fullmatch(r"-?\d+", item.text):
            yield page.on(page.items[place + 1 if int(item.text) % 2 == 0 else place - 1])
    yield from page.submit() if page.named("Submit") else page.down()


def greatest(found: re.Match[str], page: Page) -> Iterator[Answer]:
    cards = [item for item in page.items if item.text.isdigit()]
    yield from [page.on(max(cards, key=lambda item: int(item.text)))] if cards else []
    yield from page.submit()


def guess(found: re.Match[str], page: Page) -> Iterator[Answer]:
    low, high = 0, 9
    for item in page.all("text"):
        if bound := re.search(r"(lower|less|higher|greater)\D*(\d)", item.text):
            low, high = (int(bound[2]) + 1, high) if bound[1] in ("higher", "greater") else (low, int(bound[2]) - 1)
    last = [str(answer["text"]) for answer in page.history if answer["action"] == "type"]
    yield from _guessed(page, low, high, last)


def _guessed(page: Page, low: int, high: int, last: list[str]) -> Iterator[Answer]:
    field = page.all(*FIELDS)[0]
    untried = [number for number in range(low, high + 1) if str(number) not in last] or [low]
    if page.history and page.history[-1]["action"] == "type":
        yield from (page.again(answer) for answer in page.submit())
    yield page.again(typed(field, str(untried[len(untried) // 2])))


def generate(found: re.Match[str], page: Page) -> Iterator[Answer]:
    number = next((int(item.text) for item in page.items if re.fullmatch(r"\d+", item.text)), None)
    tests: dict[str, Callable[[int], bool]] = {
        "odd": lambda n: n % 2 == 1,
        "even": lambda n: n % 2 == 0,
        "greater": lambda n: n > int(found[2]),
        "less": lambda n: n < int(found[2]),
    }
    if number is None or not tests[found[1]](number):
        yield page.again(page.on(page.named("Generate", "button")))
    yield from page.submit()


def ascending(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(
        page.on, sorted((item for item in page.items if item.text.isdigit()), key=lambda item: int(item.text))
    )


def widget(found: re.Match[str], page: Page) -> Iterator[Answer]:
    kind = found[1] if found.groups() else "button"
    those = page.all({"textarea": "textbox", "text": "textbox"}.get(kind, kind))
    yield from map(page.on, those[-1:] if kind == "textarea" else those[:1])


def _drawn(said: str, page: Page) -> list[Item]:
    """The shapes that are called this; how large they are is for the picture to tell."""
    kinds = {**SHAPES, "letter": "letter", "digit": "digit", "item": ""}
    words = [word.removesuffix("s") for word in said.split() if word not in ("small", "large")]
    kind = next((kinds[word] for word in words if word in kinds), "")
    colour = next((word for word in words if word not in kinds), "")
    found = []
    for item in page.items:
        sign = len(item.text) == 1 and {"letter": item.text.isalpha(), "digit": item.text.isdigit()}.get(kind, not kind)
        drawn = item.role == "image" and (not kind or item.text.split()[-1:] == [kind])
        if (sign and item.role == "text") or (drawn and item.text.startswith(colour)):
            found.append(item)
    return found


def shape(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(page.on, _drawn(found[1], page)[:1])


def count(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from page.tap(str(len(_drawn(found[1], page))), "button")


def describe(found: re.Match[str], page: Page) -> Iterator[Answer]:
    drawn = next((item for item in page.items if item.role != "button"), None)
    last = drawn.text.split()[-1] if drawn and drawn.text else ""
    kinds = {"circle": "Circle", "rect": "Rectangle", "polygon": "Triangle"}
    yield from page.tap(kinds.get(last, "Number" if last.isdigit() else "Letter"), "button")


def focus(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(page.on, at(page.all("textbox"), nth(found[1]) if found[1] else 0))


def ticket(found: re.Match[str], page: Page) -> Iterator[Answer]:
    buttons = [item for item in page.all("button") if item.text.startswith("Book")]
    texts = [item.text for item in page.all("text")]
    if "cheap" in found.string or "price" in found.string:
        sizes = [int(re.sub(r"\D", "", item.text)) for item in buttons]
    else:
        times = [re.fullmatch(r"(\d+)h (\d+)m", text) for text in texts]
        sizes = [int(time[1]) * 60 + int(time[2]) for time in times if time]
    best = (max if re.search("longest|most", found.string) else min)(sizes, default=0)
    yield from (page.on(item) for item, size in zip(buttons, sizes, strict=False) if size == best)


def order(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for name in found[1].split(", "):
        place = next((place for place, item in enumerate(page.items) if item.text == name), None)
        plus = next((item for item in page.items[place:] if item.text == "+"), None) if place is not None else None
        if plus:
            yield {**page.on(plus), "why": f"order {name}"}
        elif f"order {name}" not in [answer.get("why") for answer in page.history]:
            yield from page.down()
    yield from page.submit() if page.named("Submit") else page.down()


def expand(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(page.on, page.all("tab"))
    yield from page.submit()


def stock(found: re.Match[str], page: Page) -> Iterator[Answer]:
    prices = [float(text) for item in page.items for text in re.findall(r"^\$([\d.]+)$", item.text)]
    yield page.on(page.named("Buy")) if prices and prices[0] < float(found[1]) else page.again(WAIT)


def corners(found: re.Match[str], page: Page) -> Iterator[Answer]:
    cells = [item for item in page.items if re.fullmatch(r"ttt-\d", item.text)]
    wanted = [f"ttt-{number}" for number in (4, 0, 8, 2, 6, 1, 7, 3, 5)]
    yield from map(page.on, sorted(cells, key=lambda item: wanted.index(item.text)))
