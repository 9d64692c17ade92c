"""The rule policy: what MiniWoB++'s instructions ask for, as a table of patterns and of what each wishes.

A wish is an answer that says why; the first one that the history does not have is given. What the screen does not show
is not wished for, so that the same rule goes on from wherever it is. It knows the instructions and no page's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bench.agents.policies import FIELDS, FINISH, WAIT, Answer, Item, Page, Seen, typed

Wishes = Callable[[re.Match[str], Page], Iterator[Answer]]
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SHAPES = {"rectangle": "rect", "square": "rect", "circle": "circle", "triangle": "polygon"}


def rule(seen: Seen) -> Answer:
    """The first wish of the instruction that is not fulfilled yet."""
    done = {answer.get("why") for answer in seen.history}
    for pattern, wishes in RULES:
        if found := re.search(pattern, seen.instruction):
            wished = (wish for wish in wishes(found, Page(seen)) if wish.get("why") not in done)
            return next(wished, _patience(seen))
    return FINISH


def _patience(seen: Seen) -> Answer:
    """What is wished for may be on its way: a page that fades, a search that runs."""
    return FINISH if all(answer["action"] == "wait" for answer in seen.history[-3:]) else WAIT


def _nth(text: str) -> int:
    return int(re.sub(r"\D", "", text)) - 1


def _at(items: list[Item], place: int) -> list[Item]:
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


def press(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for name in filter(None, found.groups()):
        if name.isdigit():
            yield from ({**WAIT, "why": f"wait {nth}"} for nth in range(4 * int(name)))
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


NO_NAMES = {
    "Find",
    "Send",
    "Go",
    "Open",
    "Delete",
    "Will",
    "Forward",
    "Reply",
    "Please",
    "Click",
    "The",
    "Locate",
    "I",
    "Star",
}


def social(found: re.Match[str], page: Page) -> Iterator[Answer]:
    user, button = (found["user"], found["button"])
    many = {"all": 99, "": 1}.get(found.groupdict().get("many") or "") or int(found["many"])
    icon = {"Reply": "reply", "Like": "like", "Retweet": "retweet", "Share": "share"}.get(button, "more")
    done = [str(answer.get("why")) for answer in page.history]
    names = [place for place, item in enumerate(page.items) if item.text == user]
    for nth, place in enumerate(names[:many]):
        rest = page.items[place:]
        tapped = next((item for item in rest if item.text.split(" ")[0] == icon), None)
        choice = next((item for item in rest if item.text == button), None)
        if tapped and f"{icon} {nth}" not in done:
            yield {**page.on(tapped), "why": f"{icon} {nth}"}
        if choice and icon == "more":
            yield page.on(choice)
    if "Submit" in found.string:
        yield from page.down() if len(names) < many and not page.named("Submit") else iter(())
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
    nth = _nth(found[2])
    for item in page.all(*FIELDS)[:1]:
        yield from page.fill(item, found[1])
    yield from page.tap("Search", "button")
    links = [item for item in page.all("link") if not re.fullmatch(r"\d+|[<>]", item.text)]
    if nth >= 3 and (number := page.named(str(nth // 3 + 1), "link")):
        yield page.on(number)
    yield from (page.on(item) for item in _at(links, nth % 3))


def movies(found: re.Match[str], page: Page) -> Iterator[Answer]:
    for label, text in zip(("Genre", "Director", "Year"), found.groups(), strict=True):
        yield from page.fill(page.after(label, "textbox"), text)
    yield from page.submit()


def slide(found: re.Match[str], page: Page) -> Iterator[Answer]:
    goals = [int(number) for number in re.findall(r"-?\d+", found[1])]
    handles = [item for item in page.items if "slider-handle" in item.text or item.role == "slider"]
    values = [item for item in page.all("text") if re.fullmatch(r"-?\d+", item.text)]
    for nth, (handle, value, goal) in enumerate(zip(handles, values, goals, strict=False)):
        if int(value.text) != goal:
            if f"handle {nth}" not in [answer.get("why") for answer in page.history]:
                yield {**page.on(handle), "why": f"handle {nth}"}
            else:
                key = "ArrowRight" if goal > int(value.text) else "ArrowLeft"
                yield page.again({"action": "key", "keys": [key]})
    if place := re.search(r"(\d)\w\w checkbox", found.string):
        yield from (page.on(item) for item in _at(page.all("checkbox"), _nth(place[1])))
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
    yield from page.fill(page.all("textbox")[-1], words[_nth(found[1])].strip(".,"))
    yield from page.submit()


def copy(found: re.Match[str], page: Page) -> Iterator[Answer]:
    *areas, answer = page.all("textbox")
    text = areas[_nth(found[1]) if found[1] else 0].value
    yield from page.fill(answer, text.split()[-1].rstrip(".,") if "last word" in found.string else text)
    yield from page.submit()


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
    yield from map(page.on, _at(page.all("textbox"), _nth(found[1]) if found[1] else 0))


def radio_and_text(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from map(page.on, _at(page.all("radio", "checkbox"), _nth(found[1])))
    for item in _at(page.all("textbox"), _nth(found[3])):
        yield from page.fill(item, found[2])
    yield from page.submit()


def drop_down(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from (page.on(item) for item in page.items if "▾" in item.text)
    yield from (page.on(item) for item in page.items if item.text == found[1])
    yield from page.tap(found[2], "button")


def letters(found: re.Match[str], page: Page) -> Iterator[Answer]:
    yield from page.fill(next(iter(page.all("textbox")), None), "".join(item.text for item in page.all("text")))
    yield from page.submit()


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


#: The first pattern that an instruction has decides.
RULES: tuple[tuple[str, Wishes], ...] = (
    (r"starts with \"(.+?)\"(?: and ends with \"(.+?)\")?", complete),
    (r"username \"(.+?)\" and the password \"(.+?)\"", login),
    (r"enter the name \"(.+?)\".* press \"(.+?)\"", agree),
    (r"[Ff]or the user (?P<user>@\w+), click on the \"(?P<button>.+?)\"", social),
    (r"Click the \"(?P<button>.+?)\" button on (?P<many>\w+) posts? by (?P<user>@\w+)", social),
    (r"email|message|inbox|[Ff]orward|[Rr]eply", mail),
    (r"Check the (\d)\w\w radio button and enter the number \"(.+?)\" into the (\d)", radio_and_text),
    (r"Choose (.+) from the dropdown.*labeled \"(.+?)\"", drop_down),
    (r"(?:Select|combination) (\[?-?[\d,-]+\]?) with the slider|combination (\[.+?\])", slide),
    (r"sliders to the combination (\[.+?\])", slide),
    (r"(?:Select|Enter) (\d+)/(\d+)/(\d+) as the date", date),
    (r"Enter (\d+):(\d+) (\w+) as the time", clock),
    (r"Select (-?\d+) with the spinner", enter),
    (r"Select (.+) from the (?:scroll )?list", choose),
    (r"Select (.+) and click Submit", select),
    (r"Select (.+>.+)$", menu),
    (r"enter \"(.+?)\" and press \"Search\".*the (\d+)\w\w search", results),
    (r"[Tt]ype \"(.+?)\" in all (?P<case>upper|lower)", enter),
    (r"Enter (?:the password )?\"(.+?)\"", enter),
    (r"Search for (.+) movies directed by (.+) from year (\d+)", movies),
    (r"Find (\w+) in the contact book and click on their (.+)\.", contact),
    (r"(?:link) \"(.+?)\"", link),
    (r"folder or file named \"(.+?)\"", tree),
    (r"Find the (\d+)\w\w word", word),
    (r"Copy the text (?:from|in) the (?:(\d)\w\w )?text|last word()", copy),
    (r"Solve (?:for|the)", solve),
    (r"value of (.+) into|corresponds with each label()", table),
    (r"as odd or even", parity),
    (r"card with the greatest", greatest),
    (r"Guess the number", guess),
    (r"Generate an? (?:number )?(odd|even|greater|less)(?: than (\d+))?", generate),
    (r"ascending order", ascending),
    (r"Click on a \"(.+?)\" widget", widget),
    (r"Click on an? (.+?)\.?$", shape),
    (r"best describes the figure", describe),
    (r"Focus into the (?:(\d)\w\w )?(?:input )?textbox", focus),
    (r"Type the text below", letters),
    (r"Buy the ticket|[Bb]ook the ticket", ticket),
    (r"Order one of each item: (.+)$", order),
    (r"stock when the price is less than \$([\d.]+)\.", stock),
    (r"tic-tac-toe", corners),
    (r"Expand the section below", expand),
    (r"Click button (\w+), (?:wait (\d+) seconds, )?then click button (\w+)", press),
    (r"Click the \"Menu\" button.*labeled \"(.+?)\"", sub_menu),
    (r"(?:labeled|clicking the|on the) \"(.+?)\"", press),
    (r"How many (.+?)s? are there", count),
    (r"Click the button\.$", widget),
    (r"(?:Click|Press) (?:on )?(?:the )?(?:button )?(\w+(?: #\d+)?)(?: button)?\.$", press),
)
