"""The driver of an iPhone, through WebDriverAgent's HTTP (github.com/appium/WebDriverAgent), which runs on the phone.

Protocol only: held to the recorded forms of its answers in the tests, not run on a device. It counts in points, we in
pixels. An iPhone has no back button: back is a swipe from the left edge. Which applications there are it does not tell;
Launch takes bundle identifiers and the names in ``ios_names.toml``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from openmaas.apps.drivers import hierarchy, picture
from openmaas.apps.drivers.acts import Act, Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.checking import FINGER, check
from openmaas.apps.drivers.driver import Element, Screen
from openmaas.apps.drivers.scrolling import swipes
from openmaas.core import bounds
from openmaas.core.errors import CannotAct, DeviceLost

#: Where an element's id stands in an answer (W3C WebDriver, section 11).
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: Keys that can be typed; others, and keys together, XCTest has not.
_KEYS = {"Enter": "\n", "Tab": "\t", "Backspace": "\b", "Delete": "\x7f", "Escape": "\x1b"}
#: Types of XCTest's views, as uiautomator's classes; those that are touched, and those that hold text.
_CLASSES = {
    "StaticText": "TextView",
    "Link": "TextView",
    "TextField": "EditText",
    "SecureTextField": "EditText",
    "SearchField": "EditText",
    "TextView": "EditText",
    "Image": "ImageView",
    "Slider": "SeekBar",
}
_TOUCHED = {"Button", "Link", "Cell", "Switch", "TextField", "SecureTextField", "SearchField", "TextView", "MenuItem"}
_SCROLLED = {"ScrollView", "Table", "CollectionView", "WebView"}


async def open_ios(url: str) -> Ios:
    """The phone whose WebDriverAgent listens at this address, such as ``http://127.0.0.1:8100``."""
    phone = Ios(url, httpx.AsyncClient(base_url=url, timeout=bounds.WDA_TIMEOUT_S))
    try:
        await phone.begin()
    except BaseException:
        await phone.close()
        raise
    return phone


class Ios:
    """A ``Driver``. The size and the elements are those of the last look."""

    kind = "phone"
    acts: frozenset[type[Act]] = frozenset({Tap, Press, Swipe, Scroll, Type, Key, Back, Home, Launch})

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.name = url
        self._client = client
        self._session = ""
        self._scale = 1.0
        self._size = 0, 0
        self._elements: tuple[Element, ...] = ()

    async def begin(self) -> None:
        """A session of our own, and how many pixels there are to a point."""
        begun = await self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {}}})
        self._session = f"/session/{begun['sessionId']}"
        await self.look()

    async def look(self) -> Screen:
        """See ``Driver``."""
        front = await self._ask("GET", "/wda/activeAppInfo")
        source = str(await self._ask("GET", f"{self._session}/source"))
        window = await self._ask("GET", f"{self._session}/window/size")
        try:
            shot = base64.b64decode(await self._ask("GET", "/screenshot"))
        except binascii.Error:
            raise DeviceLost("its screenshot cannot be read") from None
        shown = await picture.read(shot)
        self._size = shown.width, shown.height
        self._scale = shown.width / window["width"]
        self._elements = self._read(source)
        app, title = front.get("bundleId", ""), front.get("name") or ""
        return Screen(shown.png, *self._size, app, title, self._elements, shown.black)

    async def do(self, act: Act) -> None:
        """See ``Driver``."""
        check(act, self.acts, *self._size, FINGER)
        match act:
            case Tap(at=at, count=count):
                await self._touch([(at, at, bounds.WDA_TAP_MS)] * count)
            case Press(at=at, duration_ms=duration_ms):
                await self._touch([(at, at, duration_ms)])
            case Swipe(start=start, end=end, duration_ms=duration_ms):
                await self._touch([(start, end, duration_ms)])
            case Scroll():
                for each in swipes(act, self._elements, *self._size):
                    await self._touch([(each.start, each.end, each.duration_ms)])
            case Type(text=text, clear=clear):
                await self._type(text, clear=clear)
            case Key(keys=keys):
                if len(keys) > 1 or (len(keys[0]) > 1 and keys[0] not in _KEYS):
                    raise CannotAct("an iPhone types single characters, Enter, Tab, Backspace, Delete and Escape alone")
                await self._type(_KEYS.get(keys[0], keys[0]), clear=False)
            case Back():
                middle = self._size[1] // 2
                await self._touch([(Point(0, middle), Point(self._size[0] * 2 // 3, middle), bounds.WDA_BACK_MS)])
            case Home():
                await self._ask("POST", "/wda/homescreen", {})
            case Launch(app=app):
                bundle = _names().get("".join(app.casefold().split()), app)
                await self._ask("POST", f"{self._session}/wda/apps/launch", {"bundleId": bundle})
            case _:
                raise AssertionError(act)

    async def apps(self) -> tuple[str, ...]:
        """See ``Driver``: what is well known, whether it is installed or not."""
        return tuple(sorted(name for names in _known().values() for name in names))

    async def close(self) -> None:
        """See ``Driver``."""
        if self._session and not self._client.is_closed:
            with contextlib.suppress(CannotAct, DeviceLost):  # it ends with the program on the phone
                await self._ask("DELETE", self._session)
        await self._client.aclose()

    async def _touch(self, moves: list[tuple[Point, Point, int]]) -> None:
        """A finger that goes down, moves and comes up, for each of these."""
        steps: list[dict[str, Any]] = []
        for start, end, duration_ms in moves:
            steps += [
                {"type": "pointerMove", "duration": 0, **self._points(start)},
                {"type": "pointerDown", "button": 0},
                {"type": "pause", "duration": duration_ms}
                if start == end
                else {"type": "pointerMove", "duration": duration_ms, **self._points(end)},
                {"type": "pointerUp", "button": 0},
            ]
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}, "actions": steps}
        await self._ask("POST", f"{self._session}/actions", {"actions": [finger]})

    def _points(self, place: Point) -> dict[str, float]:
        return {"x": place.x / self._scale, "y": place.y / self._scale}

    async def _type(self, text: str, *, clear: bool) -> None:
        if clear:
            focused = await self._ask("GET", f"{self._session}/element/active")
            await self._ask("POST", f"{self._session}/element/{focused[_ELEMENT]}/clear", {})
        if text:
            await self._ask("POST", f"{self._session}/wda/keys", {"value": list(text)})

    def _read(self, source: str) -> tuple[Element, ...]:
        try:
            tree = ElementTree.fromstring(source)  # noqa: S314 - expat bounds entities
        except ElementTree.ParseError:
            return ()
        root = ElementTree.Element("hierarchy")
        root.append(self._node(tree))
        return hierarchy.of_tree(root, *self._size)

    def _node(self, view: ElementTree.Element) -> ElementTree.Element:
        """A view with uiautomator's names, so that one reading serves all phones."""
        kind = view.get("type", view.tag).removeprefix("XCUIElementType")
        left, top, width, height = (float(view.get(name, 0)) * self._scale for name in ("x", "y", "width", "height"))
        class_ = _CLASSES.get(kind, kind)
        label, value = view.get("label") or view.get("name") or "", view.get("value") or ""
        typed = class_ == "EditText"
        node = ElementTree.Element(
            "node",
            {
                "class": class_,
                "text": value if typed else label,
                "content-desc": label if typed else "",
                "hint": view.get("placeholderValue") or "",
                "resource-id": view.get("name") or "",
                "bounds": f"[{left:.0f},{top:.0f}][{left + width:.0f},{top + height:.0f}]",
                "clickable": _said(kind in _TOUCHED),
                "checkable": _said(kind == "Switch"),
                "checked": _said(kind == "Switch" and value == "1"),
                "enabled": view.get("enabled", "true"),
                "focused": view.get("focused", "false"),
                "scrollable": _said(kind in _SCROLLED),
                "password": _said(kind == "SecureTextField"),
            },
        )
        if view.get("visible") == "false":
            node.set("bounds", "")
        node.extend(self._node(child) for child in view)
        return node

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The ``value`` of an answer. WebDriverAgent refuses with an error's name and its message."""
        try:
            answer = await self._client.request(method, path, json=body)
            value = answer.json()["value"]
        except (httpx.TransportError, RuntimeError) as error:  # the second: the client was closed
            raise DeviceLost(f"WebDriverAgent does not answer: {error}") from None
        except (ValueError, LookupError, TypeError):
            raise DeviceLost("what answers is no WebDriverAgent") from None
        if isinstance(value, dict) and "error" in value:
            if value["error"] == "invalid session id":
                raise DeviceLost("the session has ended")
            raise CannotAct(f"{value['error']}: {value.get('message', '')}")
        return value


def _said(truth: bool) -> str:
    return str(truth).lower()


@functools.cache
def _known() -> dict[str, list[str]]:
    return tomllib.loads(Path(__file__).with_name("ios_names.toml").read_text())


@functools.cache
def _names() -> dict[str, str]:
    return {"".join(name.casefold().split()): bundle for bundle, names in _known().items() for name in names}
