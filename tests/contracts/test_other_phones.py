"""The drivers of HarmonyOS and iOS say to ``hdc`` and to WebDriverAgent what those take, and read what they answer.

The other sides are programs that answer in the recorded forms; no device was there.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devices import listening
from openmaas.apps.drivers.acts import Act, Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.driver import Box
from openmaas.apps.drivers.harmony import Harmony, open_harmony
from openmaas.apps.drivers.ios import Ios, open_ios
from openmaas.core.errors import CannotAct, DeviceLost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def image(form: str, size: tuple[int, int], colour: str = "white") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, form)
    return written.getvalue()


LAYOUT = {
    "attributes": {"type": "root", "bounds": "[0,0][1260,2720]", "bundleName": "com.shop", "abilityName": "Main"},
    "children": [
        {
            "attributes": {
                "type": "Button", "text": "Buy", "id": "buy", "bounds": "[100,200][300,300]",
                "clickable": "true", "enabled": "true", "scrollable": "false", "bundleName": "com.shop",
            },
            "children": [],
        },
        {
            "attributes": {
                "type": "TextInput", "text": "milk", "hint": "Search", "bounds": "[0,300][1260,400]",
                "clickable": "true", "enabled": "true", "focused": "true",
            },
            "children": [],
        },
    ],
}  # fmt: skip

#: Stands in for the program: answers as it does, and writes down what it was told.
HDC = r"""#!/bin/sh
folder=${0%/*} serial=$2 verb=$3
[ "$1" = -t ] && shift 3
if [ "$serial" != FMR0223 ] || [ -e "$folder/gone" ]; then
  echo "[Fail]Not match target founded, check connect-key please"
elif [ "$verb" = file ]; then
  remote=$folder/${2##*/}
  [ -e "$remote" ] && [ ! -e "$folder/no-${2##*/}" ] && cp "$remote" "$3" && echo "FileTransfer finish, Size:1"
else
  printf '%s\n' "$1" >> "$folder/told"
  case "$1" in
    *'13 13') echo "Error: uinput failed" ;;
    'uitest uiInput'*) echo "No Error" ;;
    'bm dump -a') printf 'ID: 100:\n\tcom.shop\n\tcom.huawei.hmos.settings\n' ;;
    'bm dump -n'*) printf 'com.shop:\n{\n    "hapModuleInfos": [{"mainAbility": "ShopAbility"}]\n}\n' ;;
    'aa start'*) echo "start ability successfully." ;;
  esac
fi
"""


@pytest.fixture
def hdc(tmp_path: Path) -> Path:
    """The program, in a folder with what the phone shows."""
    program = tmp_path / "hdc"
    program.write_text(HDC)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "openmaas.json").write_text(json.dumps(LAYOUT))
    (tmp_path / "openmaas.jpeg").write_bytes(image("JPEG", (1260, 2720)))
    return program


@pytest.fixture
async def harmony(hdc: Path) -> AsyncIterator[Harmony]:
    driver = await open_harmony("FMR0223", str(hdc))
    (hdc.parent / "told").unlink()
    yield driver
    await driver.close()


async def test_a_harmony_phone_s_layout_becomes_elements(harmony: Harmony) -> None:
    screen = await harmony.look()
    assert (screen.width, screen.height, screen.app, screen.title) == (1260, 2720, "com.shop", "Main")
    assert screen.png.startswith(b"\x89PNG")
    buy, search = screen.elements
    assert (buy.role, buy.text, buy.place, buy.box) == ("button", "Buy", "buy", Box(100, 200, 200, 100))
    assert (search.role, search.text, search.value, search.focused) == ("textbox", "Search", "milk", True)


UITEST = "uitest uiInput "


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (Tap(Point(10, 20)), [UITEST + "click 10 20"]),
        (Tap(Point(10, 20), count=2), [UITEST + "doubleClick 10 20"]),
        (Press(Point(10, 20)), [UITEST + "longClick 10 20"]),
        (Swipe(Point(0, 0), Point(0, 600), 300), [UITEST + "swipe 0 0 0 600 2000"]),
        (Scroll(Point(600, 1000), "down", 5), [UITEST + "swipe 630 2040 630 680 2267"]),
        (Type("a 'b'\n中"), [f"{UITEST}text 'a '\"'\"'b'\"'\"''", UITEST + "keyEvent 2054", UITEST + "text '中'"]),
        (Type("x", clear=True), [UITEST + "keyEvent 2072 2017", UITEST + "keyEvent 2055", UITEST + "text x"]),
        (Key(("Enter",)), [UITEST + "keyEvent 2054"]),
        (Key(("Control", "a")), [UITEST + "keyEvent 2072 2017"]),
        (Back(), [UITEST + "keyEvent Back"]),
        (Home(), [UITEST + "keyEvent Home"]),
        (Launch("com.shop"), ["bm dump -a", "bm dump -n com.shop", "aa start -b com.shop -a ShopAbility"]),
    ],
)
async def test_what_a_harmony_phone_is_told_for_an_act(harmony: Harmony, hdc: Path, act: Act, told: list[str]) -> None:
    await harmony.do(act)
    assert (hdc.parent / "told").read_text().splitlines() == told


async def test_what_a_harmony_phone_cannot_do_is_said(harmony: Harmony) -> None:
    with pytest.raises(CannotAct, match="uinput failed"):
        await harmony.do(Tap(Point(13, 13)))
    with pytest.raises(CannotAct, match="no application"):
        await harmony.do(Launch("com.nosuch"))
    with pytest.raises(CannotAct, match="off the screen"):
        await harmony.do(Tap(Point(1260, 0)))
    assert await harmony.apps() == ("com.huawei.hmos.settings", "com.shop")


async def test_a_harmony_phone_that_gives_no_picture_is_secure(harmony: Harmony, hdc: Path) -> None:
    (hdc.parent / "no-openmaas.jpeg").touch()
    screen = await harmony.look()
    assert screen.secure
    assert (screen.width, screen.height) == (1260, 2720)


async def test_a_harmony_phone_that_is_gone_is_lost(harmony: Harmony, hdc: Path) -> None:
    (hdc.parent / "gone").touch()
    with pytest.raises(DeviceLost, match="check connect-key"):
        await harmony.do(Home())
    await harmony.close()
    with pytest.raises(DeviceLost, match="no program"):
        await open_harmony("FMR0223", str(hdc.parent / "nosuch"))


SOURCE = """<?xml version="1.0" encoding="UTF-8"?>
<XCUIElementTypeApplication type="XCUIElementTypeApplication" name="Shop" label="Shop" enabled="true" visible="true"
  x="0" y="0" width="390" height="844">
  <XCUIElementTypeButton type="XCUIElementTypeButton" name="buy" label="Buy" enabled="true" visible="true"
    x="10" y="20" width="100" height="40"/>
  <XCUIElementTypeTextField type="XCUIElementTypeTextField" value="milk" label="Search" enabled="true" visible="true"
    x="0" y="100" width="390" height="40" placeholderValue="What?"/>
  <XCUIElementTypeSecureTextField type="XCUIElementTypeSecureTextField" value="hunter2" label="Password" enabled="true"
    visible="true" x="0" y="200" width="390" height="40"/>
  <XCUIElementTypeSwitch type="XCUIElementTypeSwitch" value="1" label="Agree" enabled="true" visible="true"
    x="0" y="300" width="60" height="40"/>
  <XCUIElementTypeCell type="XCUIElementTypeCell" enabled="true" visible="true" x="0" y="400" width="390" height="60">
    <XCUIElementTypeStaticText type="XCUIElementTypeStaticText" label="Noodles" visible="true" enabled="true"
      x="5" y="405" width="200" height="20"/>
  </XCUIElementTypeCell>
  <XCUIElementTypeStaticText type="XCUIElementTypeStaticText" label="hidden" visible="false" enabled="true"
    x="0" y="500" width="390" height="20"/>
</XCUIElementTypeApplication>"""


class Agent:
    """WebDriverAgent's side: answers as it does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.session = "A1B2"
        self.colour = "white"

    async def answer(self, request: Request) -> Response:
        path, body = request.url.path, await request.body()
        self.asked.append((request.method, path, json.loads(body) if body else None))
        if path.startswith("/session/") and not path.startswith(f"/session/{self.session}"):
            return refusal(404, "invalid session id", "Session does not exist")
        values: dict[str, Any] = {
            "/session": {"sessionId": self.session, "capabilities": {"device": "iphone", "sdkVersion": "18.0"}},
            "/wda/activeAppInfo": {"bundleId": "com.shop", "name": "", "pid": 42, "processArguments": {}},
            "/screenshot": base64.b64encode(image("PNG", (1170, 2532), self.colour)).decode(),
            f"/session/{self.session}/source": SOURCE,
            f"/session/{self.session}/window/size": {"width": 390, "height": 844},
            f"/session/{self.session}/element/active": {
                "ELEMENT": "E1",
                "element-6066-11e4-a52e-4f735466cecf": "E1",
            },
        }
        if path.endswith("/wda/apps/launch") and self.asked[-1][2]["bundleId"] == "no.such":
            return refusal(500, "unknown error", "Application info provider returned nil for no.such")
        return JSONResponse({"value": values.get(path), "sessionId": self.session})


def refusal(status: int, error: str, message: str) -> Response:
    return JSONResponse({"value": {"error": error, "message": message, "traceback": ""}}, status_code=status)


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent()


@contextlib.contextmanager
def served(agent: Agent) -> Iterator[str]:
    route = Route("/{path:path}", agent.answer, methods=["GET", "POST", "DELETE"])
    with listening(Starlette(routes=[route])) as url:
        yield url


@pytest.fixture(scope="module")
async def opened(agent: Agent) -> AsyncIterator[Ios]:
    with served(agent) as address:
        driver = await open_ios(address)
        yield driver
        await driver.close()


@pytest.fixture
def ios(opened: Ios, agent: Agent) -> Ios:
    """The driver, and an agent that was asked nothing yet."""
    agent.asked.clear()
    return opened


async def test_an_iphone_s_source_becomes_elements_in_pixels(ios: Ios) -> None:
    screen = await ios.look()
    assert (screen.width, screen.height, screen.app) == (1170, 2532, "com.shop")
    found = {each.text: each for each in screen.elements}
    assert (found["Buy"].role, found["Buy"].box) == ("button", Box(30, 60, 300, 120))
    assert (found["Search"].role, found["Search"].value) == ("textbox", "milk")
    assert (found["Password"].secret, found["Password"].value) == (True, "")
    assert (found["Agree"].role, found["Agree"].checked) == ("switch", True)
    assert found["Noodles"].role == "button"
    assert "hidden" not in found


async def test_a_black_iphone_is_secure(ios: Ios, agent: Agent) -> None:
    assert not (await ios.look()).secure
    agent.colour = "black"
    assert (await ios.look()).secure
    agent.colour = "white"


def down(x: float, y: float, *then: dict[str, Any]) -> list[dict[str, Any]]:
    """A finger's steps at this place, in points."""
    return [
        {"type": "pointerMove", "duration": 0, "x": x, "y": y},
        {"type": "pointerDown", "button": 0},
        *then,
        {"type": "pointerUp", "button": 0},
    ]


def pause(duration_ms: int) -> dict[str, Any]:
    return {"type": "pause", "duration": duration_ms}


def move(x: float, y: float, duration_ms: int) -> dict[str, Any]:
    return {"type": "pointerMove", "duration": duration_ms, "x": x, "y": y}


@pytest.mark.parametrize(
    ("act", "steps"),
    [
        (Tap(Point(30, 60)), down(10, 20, pause(50))),
        (Tap(Point(30, 60), count=2), down(10, 20, pause(50)) * 2),
        (Press(Point(30, 60), 900), down(10, 20, pause(900))),
        (Swipe(Point(30, 60), Point(300, 60), 400), down(10, 20, move(100, 20, 400))),
        (Back(), down(0, 422, move(260, 422, 300))),
        (Scroll(Point(30, 60), "down", 5), down(195, 633, move(195, 211, 600))),
    ],
)
async def test_where_the_finger_goes_on_an_iphone(
    ios: Ios, agent: Agent, act: Act, steps: list[dict[str, Any]]
) -> None:
    await ios.do(act)
    ((method, path, body),) = agent.asked
    assert (method, path) == ("POST", "/session/A1B2/actions")
    assert body["actions"][0]["actions"] == steps


@pytest.mark.parametrize(
    ("act", "asked"),
    [
        (Type("中a"), [("/session/A1B2/wda/keys", {"value": ["中", "a"]})]),
        (Type("", clear=True), [("/session/A1B2/element/active", None), ("/session/A1B2/element/E1/clear", {})]),
        (Key(("Enter",)), [("/session/A1B2/wda/keys", {"value": ["\n"]})]),
        (Home(), [("/wda/homescreen", {})]),
        (Launch("wechat"), [("/session/A1B2/wda/apps/launch", {"bundleId": "com.tencent.xin"})]),
        (Launch("com.shop"), [("/session/A1B2/wda/apps/launch", {"bundleId": "com.shop"})]),
    ],
)
async def test_what_an_iphone_is_asked_for_an_act(
    ios: Ios, agent: Agent, act: Act, asked: list[tuple[str, Any]]
) -> None:
    await ios.do(act)
    assert [(path, body) for _, path, body in agent.asked] == asked


async def test_what_an_iphone_cannot_do_is_said(ios: Ios) -> None:
    with pytest.raises(CannotAct, match=r"no\.such"):
        await ios.do(Launch("no.such"))
    with pytest.raises(CannotAct, match="alone"):
        await ios.do(Key(("Control", "a")))
    assert "微信" in await ios.apps()


async def test_an_iphone_whose_session_or_program_is_gone_is_lost() -> None:
    agent = Agent()
    with served(agent) as address:
        driver = await open_ios(address)
        agent.session = "other"
        with pytest.raises(DeviceLost, match="session has ended"):
            await driver.look()
        agent.session = "A1B2"
        await driver.close()
        await driver.close()
        assert [path for method, path, _ in agent.asked if method == "DELETE"] == ["/session/A1B2"]
        with pytest.raises(DeviceLost):
            await driver.look()
    with pytest.raises(DeviceLost, match="does not answer"):
        await open_ios(address)
