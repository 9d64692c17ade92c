"""A browser without a screen for the simulated phone's pages: what can be tapped, fields and forms, by visible text.

It follows links and sends forms as a browser would, through the ASGI application itself. A dialogue that lies over the
page hides what is under it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin

import httpx

from openmaas.apps.simphone.world.task import Step
from openmaas.apps.simphone.world.world import World

VOID = frozenset({"meta", "link", "input", "br", "path"})


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attrs: dict[str, str]
    parent: Node | None = None
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> list[Node]:
        """It and all below it, in order."""
        return [self, *(node for child in self.children if isinstance(child, Node) for node in child.walk())]

    def chunks(self) -> list[str]:
        """The pieces of text in it."""
        found = []
        for child in self.children:
            found += [" ".join(child.split())] if isinstance(child, str) else child.chunks()
        return [chunk for chunk in found if chunk]

    @property
    def text(self) -> str:
        """What it says."""
        return self.attrs.get("aria-label") or " ".join(self.chunks())

    def up(self, tag: str) -> Node:
        """The nearest of this kind that it is in."""
        node: Node | None = self
        while node is not None and node.tag != tag:
            node = node.parent
        assert node is not None, f"{self.tag} is in no {tag}"
        return node

    def all(self, *tags: str) -> list[Node]:
        """Those of these kinds below it."""
        return [node for node in self.walk() if node.tag in tags]


class Reader(HTMLParser):
    """HTML to nodes; a tag that is not closed is a mistake."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.at = Node("html-page", {})
        self.feed(html)
        assert self.at is self.root, f"{self.at.tag} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(node)
        if tag not in VOID:
            self.at = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Node(tag, {name: value or "" for name, value in attrs}, self.at))

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def fields_of(form: Node) -> list[tuple[str, str]]:
    """What a form would send."""
    sent = []
    for node in form.all("input", "textarea"):
        kind = node.attrs.get("type", "text")
        if "disabled" in node.attrs or (kind in ("radio", "checkbox") and "checked" not in node.attrs):
            continue
        sent.append((node.attrs["name"], value_of(node)))
    return sent


def value_of(node: Node) -> str:
    """What stands in a field."""
    if node.tag == "input":
        return node.attrs.get("value", "")
    text = "".join(child for child in node.children if isinstance(child, str))
    return text.removeprefix("\n")


def label_of(node: Node) -> str:
    """What a field is called."""
    if "aria-label" in node.attrs:
        return node.attrs["aria-label"]
    if "id" not in node.attrs:
        return node.up("label").text
    page = node.up("body")
    return next(label.text for label in page.all("label") if label.attrs.get("for") == node.attrs["id"])


class Browser:
    """One person's browser on one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(world.app), base_url="http://phone", follow_redirects=True
        )
        self.url = "/"
        self.page = Node("", {})
        self.status = 0

    async def go(self, url: str, form: list[tuple[str, str]] | None = None) -> None:
        """Open an address, or send a form there."""
        if form is None:
            answer = await self.client.get(url)
        else:
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = await self.client.post(url, content=urlencode(form), headers=headers)
        self.url, self.status = str(answer.url), answer.status_code
        self.page = Reader(answer.text).root

    @property
    def top(self) -> Node:
        """What can be reached: the dialogue, where there is one."""
        return next((node for node in self.page.walk() if node.attrs.get("role") == "dialog"), self.page)

    async def follow(self, steps: tuple[Step, ...]) -> None:
        """Go a task's walk from the home page on."""
        await self.go("/")
        for step in steps:
            while self.top is not self.page:
                await self.tap(self.top.all("button")[-1])
            match step.verb:
                case "home":
                    await self.go("/")
                case "back":
                    await self.tap(self.page.all("header")[0].all("a")[0])
                case "tap":
                    await self.tap(self.find(step.target)[0])
                case "second":
                    await self.tap(self.find(step.target)[1])
                case "type" | "person":
                    self.type(step.target, step.text)
                case other:
                    raise AssertionError(other)
            assert self.status == 200, (step, self.page.text)

    def find(self, text: str) -> list[Node]:
        """What says so best: wholly, in one piece, at its beginning, somewhere."""
        wanted = " ".join(text.split())
        nodes = [node for node in self.top.all("a", "button", "label") if self._tappable(node)]
        for says in (
            lambda node: node.text == wanted,
            lambda node: wanted in node.chunks(),
            lambda node: node.text.startswith(wanted),
            lambda node: wanted in node.text,
        ):
            if found := [node for node in nodes if says(node)]:
                return found
        raise AssertionError(f"nothing says {wanted!r}: {[node.text for node in nodes]}")

    def _tappable(self, node: Node) -> bool:
        if node.tag != "label":
            return True
        return any(each.attrs.get("type") in ("radio", "checkbox") for each in node.all("input"))

    async def tap(self, node: Node) -> None:
        """A link is followed, a button sends its form, a choice is made."""
        if node.tag == "a":
            await self.go(urljoin(self.url, node.attrs["href"]))
        elif node.tag == "button":
            form = node.up("form")
            where, sent = urljoin(self.url, form.attrs["action"]), fields_of(form)
            if form.attrs.get("method") == "post":
                await self.go(where, sent)
            else:
                await self.go(f"{where}?{urlencode(sent)}")
        else:
            self._choose(node.all("input")[0])

    def _choose(self, choice: Node) -> None:
        assert "disabled" not in choice.attrs, choice.attrs
        if choice.attrs["type"] == "checkbox" and "checked" in choice.attrs:
            del choice.attrs["checked"]
            return
        if choice.attrs["type"] == "radio":
            for other in choice.up("form").all("input"):
                if other.attrs["name"] == choice.attrs["name"]:
                    other.attrs.pop("checked", None)
        choice.attrs["checked"] = ""

    def type(self, label: str, text: str) -> None:
        """Over what stands in the field of this name."""
        named = [node for node in self.top.all("input", "textarea") if node.attrs.get("type") != "hidden"]
        node = next(node for node in named if label_of(node) == label)
        if node.tag == "input":
            node.attrs["value"] = text
        else:
            node.children[:] = [text]
