"""Wishes of the rule policy that fill something in: fields, lists, dates, sliders, sums, tables.

Each is a generator over what an instruction says (a match of its pattern, ``rules.py``) and the screen; it yields the
answers in their order, as far as the screen shows what they are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.agents.policies import FIELDS, WAIT, Answer, Item, Page, typed

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def nth(text: str) -> int:
    return int(re.sub(r"\D", "", text)) - 1


def at(items: list[Item], place: int) -> list[Item]:
    return items[place : place + 1] if place >= 0 else items[-1:]


def select(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for name in [] if found[1] == "nothing" else found[1].split(", "):
        item = page.named(name, "checkbox", "radio")
        if item is None or not item.checked:
            yield from page.tap(name, "checkbox", "radio")
    yield from page.submit()


def choose(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for name in found[1].split(", "):
        combo = next(iter(page.all("combobox")), None)
        if combo and combo.value != name and not page.named(name, "option"):
            yield page.again(page.on(combo))
        if not combo or combo.value != name:
            yield from page.tap(name, "option")
    yield from page.submit()


def enter(found: re.Match[str], page: Page) -> Iterator[Answer]:
    change = (found.groupdict().get("case") or "").lower()
    text = {"upper": found[1].upper(), "lower": found[1].lower()}.get(change, found[1])
    for item in page.all(*FIELDS)[: 2 if "both" in found.string else 1]:
        yield from page.fill(item, text)
    yield from page.submit()


def login(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for item, text in zip(page.all("textbox"), found.groups(), strict=False):
        yield typed(item, text)
    yield from page.submit()


def clock(found: re.Match[str], page: Page) -> Iterator[Answer]:
    hours, minutes, half = found.groups()
    hour = int(hours) % 12 + (12 if half == "PM" else 0)
    yield from (typed(item, f"{hour:02}:{minutes}") for item in page.all("textbox")[:1])
    yield from page.submit()


def date(found: re.Match[str], page: Page) -> Iterator[Answer]:
    month, day, year = (int(part) for part in found.groups())
    fields = page.all("textbox")
    shown = next((item.text for item in page.all("text", "image") if item.text in MONTHS), None)
    shown = shown or next((word for item in page.items for word in MONTHS if item.text.startswith(word)), None)
    if shown and not (fields and fields[0].value):
        way = month - 1 - MONTHS.index(shown)
        if way:
            yield page.again(page.on(page.named("Next" if way > 0 else "Prev")))
        yield from (page.on(item) for item in page.all("link", "button", "text") if item.text == str(day))
    elif fields and fields[0].text == "date":
        yield typed(fields[0], f"{year}-{month:02}-{day:02}")
    elif fields and not fields[0].value:
        yield page.again(page.on(fields[0]))
    yield from page.submit()


def slide(found: re.Match[str], page: Page) -> Iterator[Answer]:
    goals = [int(number) for number in re.findall(r"-?\d+", found[1])]
    handles = [item for item in page.items if "slider-handle" in item.text or item.role == "slider"]
    values = [item for item in page.all("text") if re.fullmatch(r"-?\d+", item.text)]
    for which, (handle, value, goal) in enumerate(zip(handles, values, goals, strict=False)):
        if int(value.text) != goal:
            if f"handle {which}" not in [answer.get("why") for answer in page.history]:
                yield {**page.on(handle), "why": f"handle {which}"}
            else:
                key = "ArrowRight" if goal > int(value.text) else "ArrowLeft"
                yield page.again({"action": "key", "keys": [key]})
    if place := re.search(r"(\d)\w\w checkbox", found.string):
        yield from (page.on(item) for item in at(page.all("checkbox"), nth(place[1])))
    yield from page.submit()


def solve(found: re.Match[str], page: Page) -> Iterator[Answer]:
    said = next((item.text for item in page.all("text") if re.search(r"\d.*=|=.*\d", item.text)), "0 = ")
    left, _, right = said.replace("x", "*" if "x" not in found.string.split(" ") else "x").partition("=")
    if "x" in left + right:
        values = [number for number in range(-300, 300) if _value(left, number) == _value(right, number)]
    else:
        values = [_value(left, 0)]
    yield from page.fill(next(iter(page.all("textbox")), None), str(values[0] if values else 0))
    yield from page.submit()


def _value(said: str, x: int) -> int:
    first, *rest = re.findall(r"[-+*]|\d+|x", said.replace(" ", "")) or ["0"]
    parts = [str(x) if part == "x" else part for part in (first, *rest)]
    total, sign = 0, 1
    while parts:
        part = parts.pop(0)
        if part in "+-":
            sign = sign * (-1 if part == "-" else 1)
            continue
        number = int(part)
        while parts[:1] == ["*"]:
            number, parts = number * int(parts[1]), parts[2:]
        total, sign = total + sign * number, 1
    return total


def table(found: re.Match[str], page: Page) -> Iterator[Answer]:
    texts = [item.text for item in page.items]
    named = [found[1]] if found[1] else [text.rstrip(":") for text in texts if text.endswith(":")]
    for item, name in zip(page.all("textbox"), named, strict=False):
        if name in texts:
            yield from page.fill(item, texts[texts.index(name) + 1])
    yield from page.submit()


def word(found: re.Match[str], page: Page) -> Iterator[Answer]:
    words = max((item.text for item in page.all("text")), key=len, default="").split()
    yield from page.fill(page.all("textbox")[-1], words[nth(found[1])].strip(".,"))
    yield from page.submit()


def copy(found: re.Match[str], page: Page) -> Iterator[Answer]:
    *areas, answer = page.all("textbox")
    text = areas[nth(found[1]) if found[1] else 0].value
    yield from page.fill(answer, text.split()[-1].rstrip(".,") if "last word" in found.string else text)
    yield from page.submit()


def movies(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for label, text in zip(("Genre", "Director", "Year"), found.groups(), strict=True):
        yield from page.fill(page.after(label, "textbox"), text)
    yield from page.submit()


def radio_and_text(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(page.on, at(page.all("radio", "checkbox"), nth(found[1])))
    for item in at(page.all("textbox"), nth(found[3])):
        yield from page.fill(item, found[2])
    yield from page.submit()


def drop_down(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from (page.on(item) for item in page.items if "▾" in item.text)
    yield from (page.on(item) for item in page.items if item.text == found[1])
    yield from page.tap(found[2], "button")


def letters(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from page.fill(next(iter(page.all("textbox")), None), "".join(item.text for item in page.all("text")))
    yield from page.submit()


def _fits(text: str, start: str, end: str) -> bool:
    return text.startswith(start) and text.endswith(end) and len(text) > len(start)


def complete(found: re.Match[str], page: Page) -> Iterator[Answer]:
    start, end = found[1], found[2] or ""
    field = page.all(*FIELDS)[0]
    fits = [
        item
        for item in page.items
        if item.role not in FIELDS and item.text.startswith(start) and item.text.endswith(end)
    ]
    if not (field.value.startswith(start) and field.value.endswith(end) and len(field.value) > len(start)):
        yield typed(field, start)
        yield from [page.on(fits[0])] if fits else [page.again(WAIT)] * (len(page.history) < 6)
    yield from page.submit()


def agree(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from page.down()
    yield from (typed(item, found[1]) for item in page.all("textbox")[1:])
    yield from page.tap(found[2], "button")
