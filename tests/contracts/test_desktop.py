"""What only a desktop promises: text under any layout, keys and a clipboard as they were, several screens, windows."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from devices_screens import desktop, waited, x_server
from openmaas.apps.drivers.acts import Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.desktop import clipboard
from openmaas.apps.drivers.desktop.display import Display
from openmaas.apps.drivers.desktop.driver import Desktop, Plan, open_desktop
from openmaas.apps.drivers.driver import Screen
from openmaas.core.errors import CannotAct, DeviceLost

PATIENCE_S = 30.0
#: One field; the window's title says what happened last.
PAGE = """<title>ready</title><body style='margin:0;height:3000px'><textarea autofocus style='width:90%;height:300px'
oninput='document.title = value || "empty"'></textarea><script>
addEventListener('mousedown', event => document.title = ['left', 'middle', 'right'][event.button] + ' ' + event.detail);
addEventListener('contextmenu', event => event.preventDefault());
addEventListener('wheel', event => document.title = 'wheel ' + Math.sign(event.deltaX) + ' ' + Math.sign(event.deltaY));
addEventListener('keydown', event => { if (event.ctrlKey || /^(Arrow|F|Enter)/.test(event.key)) document.title =
  [event.ctrlKey && 'Control', event.shiftKey && 'Shift', event.key].filter(Boolean).join(' '); });
let from = 0;
addEventListener('mousedown', event => from = event.timeStamp);
addEventListener('mouseup', event => { if (event.timeStamp - from > 500) document.title = 'held'; });
addEventListener('mousemove', event => { if (event.buttons) document.title = 'dragged to ' + event.screenX; });
</script>"""
URL = "data:text/html," + quote(PAGE)
#: In the page and outside its field.
BARE = Point(500, 500)
TEXTS = ("Hello, World! 100 %", "Größe señor œuf", "你好,世界", "Привет мир", "שלום", "😀👍🏽", "x^y~`|{}[]\\@")


@contextlib.asynccontextmanager
async def showing() -> AsyncIterator[Desktop]:
    async with desktop(URL) as driver:
        await until(driver, lambda screen: screen.app == "ready")
        await driver.do(Tap(Point(200, 100)))
        yield driver


async def until(driver: Desktop, true: Callable[[Screen], bool]) -> Screen:
    screen = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not true(screen := await driver.look()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(screen and screen.elements) from None
    return screen


async def says(driver: Desktop, title: str) -> None:
    # A title in Hebrew comes with marks of its direction.
    await until(driver, lambda screen: screen.app.strip("\u200e\u202b\u202c") == title)


def table(display: str) -> list[list[int]]:
    """What every key of a server means."""
    shown = Display(display)
    try:
        codes = shown.x.display.info
        return [
            list(row)
            for row in shown.x.get_keyboard_mapping(codes.min_keycode, codes.max_keycode - codes.min_keycode + 1)
        ]
    finally:
        shown.close()


@waited
async def test_text_comes_through_under_any_layout_and_leaves_the_keys_as_they_were() -> None:
    if shutil.which("setxkbmap") is None:
        pytest.skip("no setxkbmap: Debian's x11-xkb-utils has it")
    async with showing() as driver:
        for layout in ("us", "de", "fr", "ru", "us,ru"):
            subprocess.run(["setxkbmap", "-display", driver.name, layout], check=True)
            before = table(driver.name)
            for text in TEXTS:
                await driver.do(Type(text, clear=True))
                await says(driver, text)
            assert table(driver.name) == before, layout


@waited
async def test_more_foreign_characters_than_there_are_keys_to_lend_are_typed_in_parts() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(150))
    async with showing() as driver:
        before = table(driver.name)
        await driver.do(Type(text))
        await says(driver, text)
        assert table(driver.name) == before


@waited
async def test_the_keys_are_as_they_were_when_nobody_waits_for_the_text_any_more() -> None:
    async with showing() as driver:
        before = table(driver.name)
        typing = asyncio.ensure_future(driver.do(Type("你好" * 5_000)))
        await until_true(lambda: table(driver.name) != before)
        typing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await typing
        assert table(driver.name) == before


async def until_true(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.01)


@waited
async def test_without_a_key_to_lend_text_is_pasted_and_the_clipboard_comes_back() -> None:
    if shutil.which("xclip") is None:
        pytest.skip("no xclip: Debian's xclip has it")
    async with showing() as driver:
        shown = Display(driver.name)
        first = shown.x.display.info.min_keycode
        for code, means in enumerate(table(driver.name), first):
            if not any(means):
                shown.x.change_keyboard_mapping(code, [[0x61] * len(means)])
        shown.x.sync()
        shown.close()
        await asyncio.to_thread(clipboard.write, "what was there", driver.name)
        await driver.do(Type("你好 and more"))
        await says(driver, "你好 and more")
        assert await asyncio.to_thread(clipboard.read, driver.name) == "what was there"


@waited
async def test_capitals_locked_or_not_the_text_is_the_same() -> None:
    async with showing() as driver:
        shown = Display(driver.name)
        lock = shown.x.keysym_to_keycode(0xFFE5)
        for down in (True, False):
            shown.key(lock, down)
        await driver.do(Type("aBc 你"))
        await says(driver, "aBc 你")
        assert shown.root.query_pointer().mask & 2
        shown.close()


@waited
async def test_keys_go_together_and_the_mouse_does_what_it_is_told() -> None:
    async with showing() as driver:
        for act, title in (
            (Key(("Control", "k")), "Control k"),
            (Key(("Control", "Shift", "k")), "Control Shift K"),
            (Key(("ArrowDown",)), "ArrowDown"),
            (Key(("F2",)), "F2"),
            (Tap(BARE), "left 1"),
            (Tap(BARE, button="right"), "right 1"),
            (Tap(BARE, button="middle"), "middle 1"),
            (Press(BARE, duration_ms=900), "held"),
            (Swipe(BARE, Point(BARE.x + 200, BARE.y)), f"dragged to {BARE.x + 200}"),
            (Scroll(BARE, "down", 2), "wheel 0 1"),
            (Scroll(BARE, "left", 2), "wheel -1 0"),
        ):
            await driver.do(act)
            await says(driver, title)
        await asyncio.sleep(0.6)  # else the next tap is a part of a double one
        await driver.do(Tap(BARE, count=2))
        await says(driver, "left 2")
        await driver.do(Hover(BARE))
        with pytest.raises(CannotAct):
            await driver.do(Hover(Point(5_000, 5)))


@waited
async def test_all_screens_are_one_picture() -> None:
    pages = [f"data:text/html,<title>{name}</title><body style='background:{name}'>" for name in ("red", "lime")]
    async with desktop(*pages, size=(1600, 500)) as driver:
        screen = await until(driver, lambda screen: {window.text for window in screen.elements} == {"red", "lime"})
        assert (screen.width, screen.height) == (1600, 500)
        for name in ("red", "lime"):
            window = next(window for window in screen.elements if window.text == name)
            assert (window.box.left >= 800) == (name == "lime")
            await driver.do(Tap(window.box.middle))
            await says(driver, name)


@waited
async def test_applications_are_those_that_were_named_and_those_of_desktop_files(tmp_path: Path) -> None:
    entry = "[Desktop Entry]\nType=Application\nName={}\nExec={} %U\n"
    (tmp_path / "a.desktop").write_text(entry.format("Mark", f"touch {tmp_path}/started"))
    (tmp_path / "b.desktop").write_text(entry.format("Hidden", "true") + "NoDisplay=true\n")
    (tmp_path / "c.desktop").write_text("no entry at all")
    async with x_server(400, 300) as (display, _):
        driver = await open_desktop(Plan(display, {"Nothing": ("no-such-program",)}, (str(tmp_path),)))
        assert await driver.apps() == ("Mark", "Nothing")
        await driver.do(Launch("Mark"))
        await until_true((tmp_path / "started").exists)
        for app in ("Hidden", "Nothing"):
            with pytest.raises(CannotAct):
                await driver.do(Launch(app))
        await driver.close()
        await driver.close()


@waited
async def test_a_server_that_is_gone_is_a_lost_device() -> None:
    with pytest.raises(DeviceLost):
        await open_desktop(Plan(":9753"))
    async with x_server(400, 300) as (display, server):
        driver = await open_desktop(Plan(display))
        assert (await driver.look()).png.startswith(b"\x89PNG")
        server.kill()
        await server.wait()
        for _ in range(2):
            with pytest.raises(DeviceLost):
                await driver.look()
        await driver.close()
