"""What only the Android driver promises: the input method is as before on every way out, adb's words reach the user."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from PIL import Image
from playwright.async_api import Browser

from devices import WAIT_S, adb_server, element, needs, world
from openmaas.apps.drivers import hierarchy
from openmaas.apps.drivers.acts import Launch, Tap, Type
from openmaas.apps.drivers.adb import keyboard, packages, server, window
from openmaas.apps.drivers.adb.android import Android, open_android
from openmaas.apps.drivers.driver import Box
from openmaas.apps.simphone.glass import chromium
from openmaas.apps.simphone.phone import SimPhone
from openmaas.apps.simphone.system import ADB_KEYBOARD, OWN_KEYBOARD
from openmaas.apps.simphone.transport import CNXN, Packet
from openmaas.core.errors import CannotAct, DeviceLost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def adb_port() -> Iterator[int]:
    needs("adb")
    with adb_server() as port:
        yield port


class Phones:
    """A phone with ADBKeyBoard and one without, each with a driver whose field has the focus."""

    def __init__(self, address: str, browser: Browser, phone: SimPhone, driver: Android, plain: Android) -> None:
        self.address = address
        self.browser = browser
        self.phone = phone
        self.driver = driver
        self.plain = plain

    @property
    def input_method(self) -> str:
        return self.phone.system.input_method

    async def switched(self) -> None:
        """Once the driver's input method is on."""
        async with asyncio.timeout(WAIT_S):
            while self.input_method != ADB_KEYBOARD:
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
async def phones(adb_port: int) -> AsyncIterator[Phones]:
    needs("chromium")
    async with contextlib.AsyncExitStack() as stack:
        address = stack.enter_context(world())
        browser = await stack.enter_async_context(chromium())
        opened: list[tuple[SimPhone, Android]] = []
        for has_keyboard in (True, False):
            phone = await stack.enter_async_context(SimPhone(address, browser, adb_keyboard=has_keyboard))
            await server.connect(phone.serial, adb_port)
            driver = await open_android(phone.serial, adb_port)
            await driver.do(Launch("试验"))
            await driver.do(Tap(element(await driver.look(), "Name").box.middle))
            opened.append((phone, driver))
        yield Phones(address, browser, *opened[0], opened[1][1])


async def value(driver: Android) -> str:
    return element(await driver.look(), "Name").value


async def test_the_input_method_is_as_before_after_each_text(phones: Phones) -> None:
    await phones.driver.do(Type("第一", clear=True))
    assert await value(phones.driver) == "第一"
    assert phones.input_method == OWN_KEYBOARD


async def test_an_input_method_that_was_not_enabled_is_not_enabled_after(phones: Phones) -> None:
    system = phones.phone.system
    system.enabled.remove(ADB_KEYBOARD)
    try:
        await phones.driver.do(Type("第二", clear=True))
        assert await value(phones.driver) == "第二"
        assert system.enabled == [OWN_KEYBOARD]
    finally:
        system.enabled.append(ADB_KEYBOARD)


async def test_an_input_method_that_was_on_already_stays_on(phones: Phones) -> None:
    phones.phone.system.settings["default_input_method"] = ADB_KEYBOARD
    try:
        await phones.driver.do(Type("第三", clear=True))
        assert phones.input_method == ADB_KEYBOARD
    finally:
        phones.phone.system.settings["default_input_method"] = OWN_KEYBOARD


async def test_the_input_method_is_as_before_after_a_text_was_cancelled(phones: Phones) -> None:
    typing = asyncio.create_task(phones.driver.do(Type("第四")))
    await phones.switched()
    typing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await typing
    assert phones.input_method == OWN_KEYBOARD


async def test_the_input_method_is_as_before_after_closing_though_nothing_was_waited_for(phones: Phones) -> None:
    system = phones.phone.system
    system.enabled.remove(ADB_KEYBOARD)
    typing = asyncio.create_task(phones.driver.do(Type("第五")))
    await phones.switched()
    for _ in range(3):
        typing.cancel()
        await asyncio.sleep(0)
    try:
        await phones.driver.close()
        assert phones.input_method == OWN_KEYBOARD
        assert system.enabled == [OWN_KEYBOARD]
    finally:
        system.enabled.append(ADB_KEYBOARD)
    with pytest.raises(asyncio.CancelledError):
        await typing


async def test_a_phone_without_the_input_method_types_ascii_and_says_how_to_have_more(phones: Phones) -> None:
    await phones.plain.do(Type("plain"))
    with pytest.raises(CannotAct, match=r"ADBKeyboard\.apk"):
        await phones.plain.do(Type("中文"))
    assert await value(phones.plain) == "plain"


async def test_a_screen_that_is_kept_from_us_is_secure_black_and_empty(phones: Phones) -> None:
    await phones.driver.do(Launch("银行"))
    screen = await phones.driver.look()
    assert screen.secure
    assert screen.app == "sim.bank"
    assert screen.elements == ()
    with Image.open(io.BytesIO(screen.png)) as shown:
        assert shown.size == (screen.width, screen.height)
        assert shown.getbbox() is None
    await phones.driver.do(Launch(" 试验 "))
    await phones.driver.do(Tap(element(await phones.driver.look(), "Name").box.middle))


async def test_devices_are_listed_with_their_state(phones: Phones, adb_port: int) -> None:
    found = {each.serial: each for each in await server.devices(adb_port)}
    assert found[phones.phone.serial] == server.Device(phones.phone.serial, "device", "SimPhone")


async def test_a_phone_that_went_away_and_came_back_is_connected_to_anew(phones: Phones, adb_port: int) -> None:
    async with SimPhone(phones.address, phones.browser) as phone:
        await server.connect(phone.serial, adb_port)
    async with asyncio.timeout(WAIT_S):
        while server.Device(phone.serial, "device", "SimPhone") in await server.devices(adb_port):
            await asyncio.sleep(0.01)
    with pytest.raises(DeviceLost, match=r"offline|not found"):
        await open_android(phone.serial, adb_port)
    async with SimPhone(phones.address, phones.browser, port=phone.port):
        await server.connect(phone.serial, adb_port)
        driver = await open_android(phone.serial, adb_port)
        assert (await driver.look()).app == "sim.launcher"
        await driver.close()


async def test_a_device_that_is_not_there_is_named(adb_port: int) -> None:
    with pytest.raises(DeviceLost, match="nosuch"):
        await open_android("nosuch", adb_port)


async def test_a_device_that_has_not_allowed_us_says_so(adb_port: int) -> None:
    asked: list[asyncio.StreamWriter] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer everything with a token to be signed, as a phone does whose owner has not agreed yet."""
        asked.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readexactly(24):
                await reader.readexactly(int.from_bytes(head[12:16], "little"))
                if head[:4] == CNXN:
                    writer.write(Packet(b"AUTH", 1, 0, bytes(20)).encoded())

    listening = await asyncio.start_server(ask, "127.0.0.1", 0)
    serial = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    connecting = asyncio.create_task(server.connect(serial, adb_port))
    try:
        async with asyncio.timeout(WAIT_S):
            while serial not in {each.serial for each in await server.devices(adb_port)}:
                await asyncio.sleep(0.1)
        with pytest.raises(DeviceLost, match=r"unauthorized|authorizing|offline"):
            await open_android(serial, adb_port)
    finally:
        listening.close()
        for writer in asked:
            writer.close()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


async def test_without_an_adb_server_it_is_said_how_to_start_one() -> None:
    with pytest.raises(DeviceLost, match="adb start-server"):
        await server.devices(1)


async def test_a_phone_that_does_not_answer_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmaas.core.bounds.ADB_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeviceLost, match=r"no answer within 0\.2 s"):
        await server.devices(silent.getsockname()[1])


@pytest.mark.parametrize("text", ["it's", '"', "$HOME `id` $(id)", "a;b&&c|d>e<f", "\\ * ? [a] {b} ~ # ! %s %", "-n"])
def test_a_real_shell_gives_input_the_text_itself(text: str) -> None:
    lines = " && ".join(keyboard._key_strokes(text))
    script = 'input() { [ "$1" = text ] && printf %s "$2"; }; ' + lines
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == text


def test_input_never_sees_what_it_would_read_as_a_space() -> None:
    assert [*keyboard._key_strokes("100%sure %%s")] == ["input text 100%", "input text 'sure %%'", "input text s"]


DUMP = """<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation="0">
<node index="0" text="" resource-id="" class="android.widget.FrameLayout" content-desc="" clickable="false"
 enabled="true" bounds="[0,0][1080,2400]">
 <node index="0" text="" resource-id="com.shop:id/row" class="android.widget.LinearLayout" clickable="true"
  enabled="true" bounds="[0,200][1080,400]">
  <node index="0" text="Noodles" class="android.widget.TextView" enabled="true" bounds="[20,220][500,300]"/>
  <node index="1" text="¥ 18" class="android.widget.TextView" enabled="true" bounds="[20,310][500,390]"/>
  <node index="2" text="Buy" class="androidx.appcompat.widget.AppCompatButton" clickable="true" enabled="true"
   bounds="[900,220][1060,380]"/>
 </node>
 <node index="1" text="" resource-id="com.shop:id/row" class="android.widget.LinearLayout" clickable="true"
  enabled="true" bounds="[0,400][1080,600]">
  <node index="0" text="Rice" class="android.widget.TextView" enabled="true" bounds="[20,420][500,500]"/>
 </node>
 <node index="2" text="secret" hint="" class="android.widget.EditText" content-desc="Password" password="true"
  enabled="false" focused="true" bounds="[0,2300][1080,2500]"/>
 <node index="3" text="Search" hint="Search" class="android.widget.EditText" enabled="true" bounds="[0,600][1080,700]"/>
 <node index="4" text="below" class="android.widget.TextView" enabled="true" bounds="[0,2400][1080,2500]"/>
</node></hierarchy>
UI hierchary dumped to: /dev/tty"""


def test_a_row_is_called_by_its_texts_and_a_button_in_it_stays_one() -> None:
    found = hierarchy.of_dump(DUMP, 1080, 2400)
    assert [(each.role, each.text, each.place) for each in found] == [
        ("button", "Noodles ¥ 18", "com.shop:id/row"),
        ("button", "Buy", "AppCompatButton"),
        ("button", "Rice", "com.shop:id/row#2"),
        ("textbox", "Password", "EditText"),
        ("textbox", "Search", "EditText#2"),
    ]
    secret, search = found[3:]
    assert (secret.secret, secret.value, secret.enabled, secret.focused) == (True, "", False, True)
    assert secret.box == Box(0, 2300, 1080, 100)  # what is on the screen
    assert search.value == ""  # it shows its hint


@pytest.mark.parametrize("dump", ["", "ERROR: could not get idle state.", "<hierarchy><node></hierarchy>"])
def test_a_tree_that_cannot_be_had_is_empty(dump: str) -> None:
    assert hierarchy.of_dump(dump, 1080, 2400) == ()


NEW = """  Window #3 Window{aa u0 StatusBar}:
    mAttrs={(0,0)(fillx74) ty=STATUS_BAR
      fl=NOT_FOCUSABLE SPLIT_TOUCH
  Window #4 Window{f8f5dd3 u0 com.bank/com.bank.Main}:
    mAttrs={(0,0)(fillxfill) sim={adjust=resize} ty=BASE_APPLICATION
      fl=LAYOUT_IN_SCREEN SECURE LAYOUT_INSET_DECOR
  Window #5 Window{bb u0 com.shop/.Main}:
      fl=LAYOUT_IN_SCREEN
  mCurrentFocus=Window{f8f5dd3 u0 com.bank/com.bank.Main}
  mFocusedApp=ActivityRecord{1 u0 com.bank/.Main t12}"""
OLD = """  Window #4 Window{f8 u0 com.bank/com.bank.Main}:
    mAttrs=WM.LayoutParams{(0,0)(fillxfill) ty=1 fl=#81812100 wanim=0x1030001}
  mCurrentFocus=Window{f8 u0 com.bank/com.bank.Main}
  mFocusedApp=AppWindowToken{1 token=Token{2 ActivityRecord{3 u0 com.bank/.Main t12}}}"""


@pytest.mark.parametrize(
    ("dump", "focus"),
    [
        (NEW, window.Focus("com.bank", "com.bank.Main", secure=True)),
        (NEW.replace(" SECURE", ""), window.Focus("com.bank", "com.bank.Main")),
        (OLD, window.Focus("com.bank", "com.bank.Main", secure=True)),
        (OLD.replace("8181", "8180").replace("2100", "0100"), window.Focus("com.bank", "com.bank.Main")),
        (
            NEW.replace("com.bank/com.bank.Main", "PopupWindow:1"),
            window.Focus("com.bank", "PopupWindow:1", secure=True),
        ),
        ("  mCurrentFocus=null\n  mFocusedApp=ActivityRecord{1 u0 com.bank/.Main t12}", window.Focus("com.bank")),
        ("", window.Focus()),
    ],
)
def test_the_window_in_front_is_read_from_dumps_of_old_and_new_versions(dump: str, focus: window.Focus) -> None:
    assert window.focus(dump) == focus


ACTIVITIES = """2 activities found:
  Activity #0:
    priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=false
    ActivityInfo:
      name=com.tencent.mm.ui.LauncherUI
      packageName=com.tencent.mm
      labelRes=0x7f1209c5 nonLocalizedLabel=null icon=0x0 banner=0x0
      ApplicationInfo:
        name=com.tencent.mm.app.Application
        packageName=com.tencent.mm
  Activity #1:
    ActivityInfo:
      name=org.example.Main
      packageName=org.example
      labelRes=0x0 nonLocalizedLabel=My Example icon=0x0 banner=0x0
"""


@pytest.mark.parametrize(
    ("wanted", "activity"),
    [
        ("微信", "com.tencent.mm.ui.LauncherUI"),
        ("wechat", "com.tencent.mm.ui.LauncherUI"),
        ("com.tencent.mm", "com.tencent.mm.ui.LauncherUI"),
        ("myexample", "org.example.Main"),
    ],
)
def test_an_application_is_found_by_label_well_known_name_or_package(wanted: str, activity: str) -> None:
    apps = packages.read(ACTIVITIES)
    assert [app.names for app in apps] == [("微信", "WeChat"), ("My Example",)]
    found = packages.find(apps, wanted)
    assert found is not None
    assert found.activity == activity
    assert packages.find(apps, "Alipay") is None
