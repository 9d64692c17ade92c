"""Every driver keeps the contract: what it does to a device is seen on the device, and what it cannot do it says."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator

import pytest
from PIL import Image

from devices import OPENERS, Opened, element, world
from openmaas.apps.drivers.acts import Back, Home, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.core.errors import CannotAct, DeviceLost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with world() as address:
        yield address


@pytest.fixture(scope="module", params=OPENERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which device."""
    return str(request.param)


@pytest.fixture(scope="module")
async def shared(base_url: str, kind: str) -> AsyncIterator[Opened]:
    async with OPENERS[kind](base_url) as opened:
        yield opened


@pytest.fixture
async def device(shared: Opened) -> Opened:
    """The device with the page of the tests in front, as it was at first."""
    await shared.driver.do(Home())
    await shared.said("Home")
    await shared.driver.do(Launch(shared.trial))
    await shared.said("nothing yet")
    return shared


async def test_a_look_gives_a_picture_of_the_size_it_says(device: Opened) -> None:
    screen = await device.driver.look()
    with Image.open(io.BytesIO(screen.png)) as shown:
        assert shown.format == "PNG"
        assert shown.size == (screen.width, screen.height)
        assert shown.convert("L").getextrema() == (0, 255)
    assert screen.app
    assert not screen.secure


async def test_elements_have_texts_and_lie_on_the_screen(device: Opened) -> None:
    screen = await device.driver.look()
    roles = {each.text: each.role for each in screen.elements if each.role not in ("text", "group")}
    assert roles["Tap me"] == "button"
    assert roles["Name"] == roles["Note"] == roles["Secret"] == "textbox"
    assert roles["Agree"] == "checkbox"
    assert [each.text for each in screen.elements if each.secret] == ["Secret"]
    assert any(each.scrolls for each in screen.elements)
    for each in screen.elements:
        assert 0 <= each.box.left < each.box.left + each.box.width <= screen.width, each
        assert 0 <= each.box.top < each.box.top + each.box.height <= screen.height, each


async def test_an_element_s_place_tells_it_from_all_others_and_stays(device: Opened) -> None:
    first, second = await device.driver.look(), await device.driver.look()
    marks = [(each.role, each.text, each.place) for each in first.elements]
    assert len(set(marks)) == len(marks)
    assert marks == [(each.role, each.text, each.place) for each in second.elements]


async def test_a_tap_in_an_element_s_middle_does_it(device: Opened) -> None:
    await device.tap("Tap me")
    await device.said("tapped")


async def test_a_tap_checks_a_box(device: Opened) -> None:
    assert element(await device.driver.look(), "Agree", "checkbox").checked is False
    await device.tap("Agree", "checkbox")
    await device.until(lambda screen: element(screen, "Agree", "checkbox").checked is True)


async def test_two_taps_are_a_double_tap(device: Opened) -> None:
    at = element(await device.driver.look(), "Tap twice").box.middle
    await device.driver.do(Tap(at, count=2))
    await device.said("tapped twice")


async def test_a_press_lasts(device: Opened) -> None:
    at = element(await device.driver.look(), "Hold me").box.middle
    await device.driver.do(Press(at, duration_ms=1_200))
    await device.said("held")


@pytest.mark.parametrize(("way", "shift"), [("right", 1), ("left", -1)])
async def test_a_swipe_goes_from_one_place_to_the_other(device: Opened, way: str, shift: int) -> None:
    box = element(await device.driver.look(), "Track").box
    middle, quarter = box.middle, box.width // 4
    await device.driver.do(
        Swipe(Point(middle.x - shift * quarter, middle.y), Point(middle.x + shift * quarter, middle.y))
    )
    await device.said(f"swiped {way}")


async def test_scrolling_down_shows_what_is_below_and_up_what_was_above(device: Opened) -> None:
    at = element(await device.driver.look(), "line 1").box.middle
    await device.driver.do(Scroll(at, "down", 5))
    await device.until(lambda screen: all(each.text != "line 1" for each in screen.elements))
    await device.driver.do(Scroll(at, "up", 10))
    await device.said("line 1")


TEXTS = [
    "plain words",
    "你好，世界",
    "emoji 👩‍👩‍👧 and 😀",
    "Grüße, ελληνικά, हिन्दी, עברית",
    """'single' "double" `back` $HOME $(id) \\ %s 100%""",
    ";&|<>(){}[]*?~#!^=+-_.,:@",
    "-n --es option",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_in_any_script_is_in_the_field_as_it_was_given(device: Opened, text: str) -> None:
    await device.tap("Name")
    await device.driver.do(Type(text))
    screen = await device.until(lambda screen: element(screen, "Name").value)
    assert element(screen, "Name").value == text
    assert element(screen, "Name").focused


async def test_a_long_text_arrives_whole(device: Opened) -> None:
    text = "长文本 with 文字 " * 400
    await device.tap("Note")
    await device.driver.do(Type(text))
    screen = await device.until(lambda screen: len(element(screen, "Note").value) >= len(text))
    assert element(screen, "Note").value == text


@pytest.mark.parametrize("text", ["one\ntwo", "一\n二"])
async def test_a_line_feed_begins_a_line(device: Opened, text: str) -> None:
    await device.tap("Note")
    await device.driver.do(Type(text))
    await device.until(lambda screen: element(screen, "Note").value == text)


async def test_a_text_comes_after_what_stands_in_the_field_unless_that_is_cleared(device: Opened) -> None:
    await device.tap("Name")
    await device.driver.do(Type("first"))
    await device.driver.do(Type(" 第二"))
    await device.until(lambda screen: element(screen, "Name").value == "first 第二")
    await device.driver.do(Type("third", clear=True))
    await device.until(lambda screen: element(screen, "Name").value == "third")
    await device.driver.do(Type("", clear=True))
    await device.until(lambda screen: element(screen, "Name").value == "")


async def test_what_a_secret_field_holds_is_not_told(device: Opened) -> None:
    await device.tap("Secret")
    await device.driver.do(Type("hunter2"))
    screen = await device.driver.look()
    assert element(screen, "Secret").value == ""
    assert "hunter2" not in repr(screen.elements)


async def test_keys_are_pressed_alone_and_together(device: Opened) -> None:
    await device.tap("Name")
    await device.driver.do(Type("abc"))
    await device.driver.do(Key(("Backspace",)))
    await device.driver.do(Key(("x",)))
    await device.until(lambda screen: element(screen, "Name").value == "abx")
    await device.driver.do(Key(("Control", "a")))
    await device.driver.do(Key(("Delete",)))
    await device.until(lambda screen: element(screen, "Name").value == "")
    await device.driver.do(Key(("Enter",)))
    await device.said("entered")


async def test_back_is_the_page_before_and_home_the_first(device: Opened) -> None:
    await device.tap("Next page")
    await device.said("The next page")
    await device.driver.do(Back())
    await device.said("Tap me")
    await device.driver.do(Home())
    await device.said("Home")


@pytest.mark.parametrize("count", [0, 4])
async def test_a_tap_is_done_once_to_three_times(device: Opened, count: int) -> None:
    with pytest.raises(CannotAct):
        await device.driver.do(Tap(Point(1, 1), count=count))


async def test_an_application_that_is_not_there_cannot_be_launched(device: Opened) -> None:
    with pytest.raises(CannotAct, match="nosuch"):
        await device.driver.do(Launch("nosuch:application"))
    await device.said("Tap me")


async def test_a_point_off_the_screen_cannot_be_tapped(device: Opened) -> None:
    screen = await device.driver.look()
    for point in (Point(screen.width, 1), Point(1, screen.height), Point(-1, 1)):
        with pytest.raises(CannotAct, match="off the screen"):
            await device.driver.do(Tap(point))


async def test_a_key_that_no_keyboard_has_cannot_be_pressed(device: Opened) -> None:
    with pytest.raises(CannotAct, match="AnyKey"):
        await device.driver.do(Key(("AnyKey",)))


async def test_what_can_be_launched_is_listed_in_order(device: Opened) -> None:
    names = await device.driver.apps()
    assert list(names) == sorted(names)
    if names:  # a browser takes addresses
        assert device.trial in names


async def test_two_devices_are_not_mixed_up_and_closing_one_twice_leaves_the_other(
    device: Opened, base_url: str, kind: str
) -> None:
    async with OPENERS[kind](base_url) as other:
        assert other.driver.name != device.driver.name
        await device.tap("Tap me")
        await device.said("tapped")
        assert "Home" in {each.text for each in (await other.driver.look()).elements}
        await other.driver.do(Launch(other.trial))
        await other.said("nothing yet")
        await other.driver.close()
        await other.driver.close()
    await device.said("tapped")


async def test_a_device_that_is_gone_is_lost_and_can_still_be_closed(base_url: str, kind: str) -> None:
    async with OPENERS[kind](base_url) as opened:
        await opened.kill()
        with pytest.raises(DeviceLost):
            await opened.driver.look()
        with pytest.raises(DeviceLost):
            await opened.driver.do(Home())
        await opened.driver.close()
        await opened.driver.close()
