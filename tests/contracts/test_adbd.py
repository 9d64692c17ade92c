"""Debian's unmodified adb drives the simulated phone: commands with exit codes, pictures, files, several phones."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.async_api import Browser

from devices import adb_server, needs, world
from openmaas.apps.simphone.glass import chromium
from openmaas.apps.simphone.phone import SimPhone

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Adb:
    """The program itself, with a server of its own and two phones, which share a browser."""

    def __init__(self, port: int, address: str, browser: Browser, phone: SimPhone, other: SimPhone) -> None:
        self.address = address
        self.browser = browser
        self.port = port
        self.phone = phone
        self.other = other

    async def run(self, *words: str) -> tuple[int, bytes, str]:
        """Exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            "adb", "-P", str(self.port), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out, err.decode()

    async def shell(self, line: str) -> str:
        """What a command on the first phone writes; it must not fail."""
        code, out, err = await self.run("-s", self.phone.serial, "shell", line)
        assert code == 0, (line, out, err)
        return out.decode().strip()

    async def tree(self) -> ElementTree.Element:
        """The elements on the first phone."""
        _, out, _ = await self.run("-s", self.phone.serial, "exec-out", "uiautomator", "dump", "/dev/tty")
        return ElementTree.fromstring(out.decode().partition("UI hierchary")[0])  # noqa: S314 - our own


@pytest.fixture(scope="module")
async def adb() -> AsyncIterator[Adb]:
    needs("adb", "chromium")
    with world() as address, adb_server() as port:
        async with chromium() as browser, SimPhone(address, browser) as phone, SimPhone(address, browser) as other:
            found = Adb(port, address, browser, phone, other)
            for each in (phone, other):
                code, out, _ = await found.run("connect", each.serial)
                assert code == 0
                assert out.startswith(b"connected to"), out
            yield found
            assert (await found.run("kill-server"))[0] == 0


async def test_both_phones_are_listed_by_what_they_are(adb: Adb) -> None:
    _, out, _ = await adb.run("devices", "-l")
    listed = {line.split()[0]: line.split()[1:] for line in out.decode().splitlines()[1:] if line}
    for phone in (adb.phone, adb.other):
        assert listed[phone.serial][0] == "device"
        assert "model:SimPhone" in listed[phone.serial]


async def test_it_says_that_it_is_simulated(adb: Adb) -> None:
    assert "simulated, not Android" in await adb.shell("getprop")
    assert await adb.shell("getprop ro.openmaas.simulated") == "1"


async def test_output_errors_and_the_exit_code_are_told_apart(adb: Adb) -> None:
    code, out, err = await adb.run("-s", adb.phone.serial, "shell", "echo before; cat /nosuch; echo after && nosuch")
    assert code == 127
    assert out == b"before\nafter\n"
    assert "cat: /nosuch" in err
    assert "nosuch: not found (SimPhone is not Android)" in err


@pytest.mark.parametrize(
    "line",
    ["echo $HOME", "echo a | cat", "echo a > b", "echo 'a", "echo a &&", "; echo a", "echo `id`", 'echo "$(id)"'],
)
async def test_what_its_shell_has_not_is_refused_and_not_done_otherwise(adb: Adb, line: str) -> None:
    code, out, err = await adb.run("-s", adb.phone.serial, "shell", line)
    assert code == 2
    assert out == b""
    assert err.startswith("sh: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("echo one  two", "one two"),
        ("echo 'one  two' \"three 'four'\" five\\ six", "one  two three 'four' five six"),
        ("echo ';' '&&' \"it\"'\"'\"s\" '$x'", ';&& it"s $x'.replace(";&&", "; &&")),
        ("false || echo saved", "saved"),
        ("rm /nosuch && echo gone", "gone"),
    ],
)
async def test_words_are_split_as_a_shell_does(adb: Adb, line: str, said: str) -> None:
    assert await adb.shell(line) == said


async def test_a_screenshot_comes_straight_and_as_a_file(adb: Adb, tmp_path: Path) -> None:
    code, out, _ = await adb.run("-s", adb.phone.serial, "exec-out", "screencap", "-p")
    assert code == 0
    with Image.open(io.BytesIO(out)) as straight:
        assert straight.size == (1080, 1920)
    await adb.shell("screencap -p /sdcard/shot.png")
    target = tmp_path / "shot.png"
    code, _, err = await adb.run("-s", adb.phone.serial, "pull", "/sdcard/shot.png", str(target))
    assert code == 0, err
    with Image.open(target) as pulled:
        assert pulled.size == (1080, 1920)


async def test_a_file_that_is_not_there_cannot_be_pulled_and_none_can_be_pushed(adb: Adb, tmp_path: Path) -> None:
    code, out, err = await adb.run("-s", adb.phone.serial, "pull", "/sdcard/nosuch", str(tmp_path / "x"))
    assert code == 1
    assert "does not exist" in err + out.decode()
    (tmp_path / "mine").write_bytes(os.urandom(100_000))
    code, out, err = await adb.run("-s", adb.phone.serial, "push", str(tmp_path / "mine"), "/sdcard/mine")
    assert code == 1
    assert "SimPhone takes no files" in err + out.decode()


async def test_the_tree_is_uiautomator_s_on_the_terminal_and_in_a_file(adb: Adb) -> None:
    await adb.shell("monkey -p sim.trial -c android.intent.category.LAUNCHER 1")
    (button,) = (await adb.tree()).iterfind(".//node[@text='Tap me']")
    assert button.get("class") == "android.widget.Button"
    assert button.get("resource-id") == "sim.trial:id/tap"
    assert await adb.shell("uiautomator dump") == "UI hierchary dumped to: /sdcard/window_dump.xml"
    assert "Tap me" in await adb.shell("cat /sdcard/window_dump.xml")


async def test_what_is_in_front_is_told_as_android_tells_it(adb: Adb) -> None:
    await adb.shell("am start -n sim.trial/.Main")
    assert "mCurrentFocus=Window{5190ae u0 sim.trial/" in await adb.shell("dumpsys window")
    await adb.shell("input keyevent KEYCODE_HOME")
    assert "mCurrentFocus=Window{5190ae u0 sim.launcher/" in await adb.shell("dumpsys window")


async def test_apps_are_listed_and_one_that_is_not_there_does_not_start(adb: Adb) -> None:
    assert "package:sim.trial" in (await adb.shell("pm list packages")).splitlines()
    assert "nonLocalizedLabel=试验" in await adb.shell("cmd package query-activities")
    for line in ("monkey -p no.such 1", "am start -n no.such/.Main"):
        assert (await adb.run("-s", adb.phone.serial, "shell", line))[0] != 0


async def test_text_is_typed_by_keys_or_by_the_input_method_that_is_set(adb: Adb) -> None:
    await adb.shell("am start -n sim.trial/.Main")
    (field,) = (await adb.tree()).iterfind(".//node[@content-desc='Name']")
    left, top = str(field.get("bounds"))[1:].split("]")[0].split(",")
    await adb.shell(f"input tap {int(left) + 20} {int(top) + 20}")
    message = base64.b64encode("你好".encode()).decode()
    await adb.shell(f"am broadcast -a ADB_INPUT_B64 --es msg {message}")  # nobody listens yet
    await adb.shell("input text 'a%sb'")
    await adb.shell("ime set com.android.adbkeyboard/.AdbIME")
    await adb.shell(f"am broadcast -a ADB_INPUT_B64 --es msg {message}")
    assert 'text="a b你好"' in await adb.shell("uiautomator dump /dev/tty")
    await adb.shell("am broadcast -a ADB_CLEAR_TEXT")
    assert "你好" not in await adb.shell("uiautomator dump /dev/tty")
    await adb.shell("ime set sim.keyboard/.SimIME")
    assert (await adb.run("-s", adb.phone.serial, "shell", "input text 你好"))[0] == 1


async def test_what_is_done_to_one_phone_is_not_done_to_the_other(adb: Adb) -> None:
    await adb.shell("am start -n sim.trial/.Main")
    _, out, _ = await adb.run("-s", adb.other.serial, "shell", "dumpsys window")
    assert b"u0 sim.launcher/" in out


@pytest.mark.parametrize(("language", "label"), [("zh", "试验"), ("en", "Trial")])
async def test_a_phone_has_a_language_for_its_pages_and_its_labels(adb: Adb, language: str, label: str) -> None:
    async with SimPhone(adb.address, adb.browser, language=language) as phone:
        assert (await adb.run("connect", phone.serial))[0] == 0
        _, out, _ = await adb.run("-s", phone.serial, "shell", "cmd package query-activities")
        assert f"nonLocalizedLabel={label} " in out.decode()
        assert f'text="in {language}"' in await phone.system.glass.tree()


async def test_its_numbers_are_those_of_its_pictures(adb: Adb) -> None:
    assert await adb.shell("wm size") == "Physical size: 1080x1920"
    assert await adb.shell("wm density") == "Physical density: 480"


async def test_there_is_no_interactive_shell(adb: Adb) -> None:
    code, out, _ = await adb.run("-s", adb.phone.serial, "shell")
    assert code != 0 or b"no interactive shell" in out
