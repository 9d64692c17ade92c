"""Answers as the published grammars have them, read into one schema; and what is no action is never taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.apps.agent.actions import Ask, Fill, Finish, Note, Recall, Said, TakeOver, Wait
from openmaas.apps.agent.grammars.grammar import Setting
from openmaas.apps.agent.grammars.table import GRAMMARS, grammar_of
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.space import SCREENSHOT, THOUSANDTHS, UI_TARS_15, Space, Unit
from openmaas.apps.drivers.acts import Back, Home, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.driver import Box, Element, Screen
from openmaas.apps.drivers.paper import Paper
from openmaas.core.errors import AnswerUnreadable, FieldInvalid

SIGHT = Sight(Screen(b"", 1000, 2000, "app", elements=(Element("button", "Go", Box(100, 200, 50, 20)),)))


SPACES = (THOUSANDTHS, UI_TARS_15, SCREENSHOT)


def read(grammar: str, message: str | dict[str, Any], sight: Sight = SIGHT) -> Said:
    return GRAMMARS[grammar].read({"content": message} if isinstance(message, str) else message, sight)


def call(name: str, said: Any) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"function": {"name": name, "arguments": json.dumps(said)}}]}


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ('do(action="Tap", element=[500,250])', Tap(Point(500, 500))),
        ('do(action="Tap", element=[999,999])', Tap(Point(999, 1998))),
        ('do(action="Double Tap", element=[0,0])', Tap(Point(0, 0), count=2)),
        ('do(action="Long Press", element=[1,1])', Press(Point(1, 2))),
        ('do(action="Swipe", start=[500,800], end=[500,200])', Swipe(Point(500, 1600), Point(500, 400))),
        ('do(action="Type", text="他说 \\"好\\" (真的), text=x")', Type('他说 "好" (真的), text=x', clear=True)),
        ('do(action="Type", text="two\nlines")', Type("two\nlines", clear=True)),
        ('do(action="Type_Name", text="李雷")', Type("李雷", clear=True)),
        ('do(action="Launch", app="美团")', Launch("美团")),
        ('do(action="Wait", duration="2 seconds")', Wait(2.0)),
        ('do(action="Wait", duration="3秒")', Wait(3.0)),
        ('do(action="Note", message="True")', Note()),
        ('do(action="Call_API", instruction="sum up")', Recall("sum up")),
        ('do(action="Take_over", message="login")', TakeOver("login")),
        ('do(action="Interact")', Ask("")),
        ('do(action="Back")', Back()),
        ('do(action="Home")', Home()),
        ('finish(message="done (all)")', Finish("done (all)")),
    ],
)
@pytest.mark.parametrize(
    "form", ["<think>why</think><answer>{}</answer>", "why\n{}", "<think>why</think>\n{}", "<answer>{}"]
)
def test_autoglm_is_read_in_every_form_that_its_models_write(answer: str, action: Any, form: str) -> None:
    said = read("autoglm", form.format(answer))
    assert said.action == action
    assert said.thinking in ("why", "")


def test_a_tap_with_a_message_is_the_models_own_warning() -> None:
    said = read("autoglm", 'do(action="Tap", element=[1,1], message="pays")')
    assert said.warned == "pays"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("hello", "must end in"),
        ("", "must end in"),
        ("I will do the shopping", "must end in"),
        ('do(action="Fly")', "no action 'Fly'"),
        ('do(action="Tap", element=[1001,5])', "off the screen"),
        ('do(action="Tap", element=[-1,5])', "off the screen"),
        ('do(action="Tap", element=[5])', "two numbers"),
        ('do(action="Tap", element="5,5")', "two numbers"),
        ('do(action="Tap", element=[True,False])', "two numbers"),
        ('do(action="Tap")', "two numbers"),
        ('do(action="Type")', "text must be"),
        ('do(action="Type", text=open("x"))', "not a call"),
        ('do(action="Tap", element=[1,', "not a call"),
        (f'do(action="Tap", element=[{"9" * 400},5])', "two numbers"),
        ('do(action="Wait", duration="soon")', "duration"),
    ],
)
def test_what_autoglm_misspells_is_refused_with_a_reason(answer: str, why: str) -> None:
    with pytest.raises(AnswerUnreadable, match=why):
        read("autoglm", answer)


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ("click(start_box='(500,250)')", Tap(Point(500, 500))),
        ("click(start_box='<|box_start|>(500,250)<|box_end|>')", Tap(Point(500, 500))),
        ("click(start_box='[400, 200, 600, 300]')", Tap(Point(500, 500))),
        ("click(point='<point>500 250</point>')", Tap(Point(500, 500))),
        ("left_double(start_box='(1,1)')", Tap(Point(1, 2), count=2)),
        ("right_single(start_box='(1,1)')", Tap(Point(1, 2), button="right")),
        ("long_press(start_box='(1,1)')", Press(Point(1, 2))),
        ("drag(start_box='(0,0)', end_box='(500,500)')", Swipe(Point(0, 0), Point(500, 1000))),
        ("hotkey(key='ctrl c')", Key(("Control", "c"))),
        ("hotkey(key='page_down')", Key(("PageDown",))),
        ("type(content='it\\'s (fine)\\n')", Type("it's (fine)\n")),
        ("scroll(start_box='(500,500)', direction='down')", Scroll(Point(500, 1000), "down")),
        ("scroll(direction='up')", Scroll(Point(500, 1000), "up")),
        ("open_app(app_name='Maps')", Launch("Maps")),
        ("press_back()", Back()),
        ("wait()", Wait(5.0)),
        ("call_user(content='which?')", Ask("which?")),
        ("finished(content='xxx')", Finish("xxx")),
    ],
)
def test_ui_tars_is_read(answer: str, action: Any) -> None:
    said = read("ui-tars", f"Thought: because\nAction: {answer}")
    assert said == Said(action, "because")


@pytest.mark.parametrize(
    "answer", ["hello", "Action: jump()", "Action: click(start_box='here')", "Action: click(", "Action:"]
)
def test_what_ui_tars_misspells_is_refused(answer: str) -> None:
    with pytest.raises(AnswerUnreadable):
        read("ui-tars", answer)


def test_the_space_is_the_models_and_the_same_numbers_mean_other_places() -> None:
    sight = Sight(Screen(b"", 1080, 1920, "app"))
    words = "Action: click(start_box='(540,960)')"
    assert read("ui-tars", words, sight).action == Tap(Point(583, 1843))
    assert UI_TARS_15.picture(1080, 1920) == (1092, 1932)
    assert read("ui-tars-1.5", words, sight).action == Tap(Point(534, 954))


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ({"type": "click", "x": 10, "y": 20, "button": "left"}, Tap(Point(10, 20))),
        ({"type": "click", "x": 10, "y": 20, "button": "wheel"}, Tap(Point(10, 20), button="middle")),
        ({"type": "double_click", "x": 1, "y": 2}, Tap(Point(1, 2), count=2)),
        ({"type": "move", "x": 1, "y": 2}, Hover(Point(1, 2))),
        (
            {"type": "drag", "path": [{"x": 1, "y": 2}, {"x": 5, "y": 5}, {"x": 9, "y": 9}]},
            Swipe(Point(1, 2), Point(9, 9)),
        ),
        ({"type": "keypress", "keys": ["CTRL", "A"]}, Key(("Control", "A"))),
        ({"type": "scroll", "x": 1, "y": 2, "scroll_x": 0, "scroll_y": 400}, Scroll(Point(1, 2), "down", 5)),
        ({"type": "scroll", "x": 1, "y": 2, "scroll_x": -80, "scroll_y": 0}, Scroll(Point(1, 2), "left", 1)),
        ({"type": "type", "text": "x"}, Type("x")),
        ({"type": "screenshot"}, Wait(0.0)),
    ],
)
def test_openais_computer_is_read(said: dict[str, Any], action: Any) -> None:
    sight = Sight(Screen(b"", 1000, 800, "app"))
    assert read("openai-computer", call("computer", said), sight).action == action


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ({"action": "left_click", "coordinate": [10, 20]}, Tap(Point(10, 20))),
        ({"action": "triple_click", "coordinate": [10, 20]}, Tap(Point(10, 20), count=3)),
        (
            {"action": "left_click_drag", "start_coordinate": [1, 1], "coordinate": [9, 9]},
            Swipe(Point(1, 1), Point(9, 9)),
        ),
        ({"action": "key", "text": "ctrl+shift+Tab"}, Key(("Control", "Shift", "Tab"))),
        ({"action": "type", "text": "x"}, Type("x")),
        (
            {"action": "scroll", "coordinate": [1, 1], "scroll_direction": "up", "scroll_amount": 3},
            Scroll(Point(1, 1), "up", 3),
        ),
        ({"action": "wait", "duration": 2}, Wait(2.0)),
    ],
)
def test_anthropics_computer_is_read(said: dict[str, Any], action: Any) -> None:
    sight = Sight(Screen(b"", 1000, 800, "app"))
    assert read("anthropic-computer", call("computer", said), sight).action == action


def test_a_computer_models_places_are_in_the_picture_that_it_got() -> None:
    sight = Sight(Screen(b"", 2560, 1440, "app"))
    width, height = GRAMMARS["anthropic-computer"].space.picture(2560, 1440)
    assert width * height <= 1_150_000
    said = read(
        "anthropic-computer", call("computer", {"action": "left_click", "coordinate": [width // 2, height // 2]}), sight
    )
    assert isinstance(said.action, Tap)
    assert abs(said.action.at.x - 1280) <= 2
    assert abs(said.action.at.y - 720) <= 2


@pytest.mark.parametrize(
    ("name", "said", "action"),
    [
        ("tap", {"element": 1}, Tap(Point(125, 210))),
        ("tap", {"x": 5, "y": 6}, Tap(Point(5, 6))),
        ("type", {"element": 1, "text": "a"}, Fill(Point(125, 210), "a")),
        ("type", {"text": "a"}, Type("a", clear=True)),
        ("key", {"keys": "ctrl+a"}, Key(("Control", "a"))),
        ("scroll", {"direction": "down"}, Scroll(Point(500, 1000), "down")),
        ("swipe", {"element": 1, "to_x": 5, "to_y": 6}, Swipe(Point(125, 210), Point(5, 6))),
        ("open", {"app": "Maps"}, Launch("Maps")),
        ("finish", {"message": "no", "succeeded": False}, Finish("no", False)),
    ],
)
def test_plain_actions_are_read_as_calls_and_as_json(name: str, said: dict[str, Any], action: Any) -> None:
    sight = Sight(Screen(b"", 1000, 1000 * 2, "app", elements=SIGHT.screen.elements))
    if {"x", "to_x"} & said.keys():  # places are in the picture, which is smaller than this screen
        sight = Sight(Screen(b"", 1000, 1000, "app", elements=SIGHT.screen.elements))
    assert read("calls", call(name, {"thinking": "why", **said}), sight) == Said(action, "why")
    assert read("choice", json.dumps({"action": name, **said}), sight).action == action


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"content": "I am done"}, "call one of the tools"),
        (call("fly", {}), "no action 'fly'"),
        (call("tap", {"element": 2}), "no element 2"),
        (call("tap", {"element": True}), "no element True"),
        (call("tap", {}), "two numbers"),
        (call("type", {}), "needs 'text'"),
        (call("type", {"text": 5}), "must be a text"),
        (call("tap", {"element": 1, "colour": "red"}), "no 'colour'"),
        (call("finish", {"message": "x", "succeeded": "yes"}), "true or false"),
        ({"tool_calls": [{"function": {"name": "tap", "arguments": "{"}}]}, "not JSON"),
        ({"tool_calls": call("back", {})["tool_calls"] * 2}, "one action at a time"),
    ],
)
def test_a_wrong_call_is_refused_with_a_reason(message: dict[str, Any], why: str) -> None:
    with pytest.raises(AnswerUnreadable, match=why):
        read("calls", message)


@given(st.text(max_size=200), st.sampled_from(sorted(set(GRAMMARS) - {"openai-computer", "anthropic-computer"})))
def test_no_text_breaks_a_grammar_and_none_is_a_success_by_chance(text: str, grammar: str) -> None:
    try:
        said = read(grammar, text)
    except AnswerUnreadable:
        return
    assert not isinstance(said.action, Finish) or "finish" in text


MEMBERS = st.sampled_from(["type", "action", "x", "y", "element", "text", "keys", "path", "coordinate"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.recursive(SCALARS, lambda each: st.lists(each) | st.dictionaries(MEMBERS, each)))
def test_no_arguments_of_a_call_break_a_grammar(said: Any) -> None:
    for grammar, name in (
        ("calls", "tap"),
        ("calls", "type"),
        ("openai-computer", "computer"),
        ("anthropic-computer", "computer"),
    ):
        for kind in ("click", "left_click", "drag", "keypress", "scroll", "type", "wait"):
            arguments = {**said, "type": kind, "action": kind} if isinstance(said, dict) else said
            try:
                read(grammar, call(name, arguments))
            except AnswerUnreadable:
                continue


@given(st.sampled_from(SPACES), st.integers(1, 4000), st.integers(1, 4000), st.floats(0, 1), st.floats(0, 1))
def test_a_place_of_the_picture_is_the_same_place_of_the_screen(
    space: Space, width: int, height: int, x: float, y: float
) -> None:
    sides = {Unit.PIXEL: space.picture(width, height), Unit.THOUSANDTH: (1000, 1000)}[space.unit]
    point = space.point(x * sides[0], y * sides[1], width, height)
    assert 0 <= point.x < width
    assert 0 <= point.y < height
    assert abs(point.x - x * width) <= 1
    assert abs(point.y - y * height) <= 1


@given(st.integers(1, 6000), st.integers(1, 6000))
def test_a_picture_keeps_to_its_bound_and_its_factor(width: int, height: int) -> None:
    for space in SPACES:
        shown = space.picture(width, height)
        assert all(side % space.factor == 0 and side > 0 for side in shown)
        if space.pixels_max and min(shown) > space.factor:
            assert shown[0] * shown[1] <= max(space.pixels_max, 0) or width * height <= space.pixels_max


def test_a_space_refuses_what_is_no_number() -> None:
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(AnswerUnreadable):
            THOUSANDTHS.point(wrong, 0, 100, 100)
        with pytest.raises(AnswerUnreadable):
            SCREENSHOT.point(0, wrong, 100, 100)


@pytest.mark.parametrize(
    ("model", "grammar"),
    [
        ("autoglm-phone-9b", "autoglm"),
        ("zai-org/AutoGLM-Phone-9B", "autoglm"),
        ("UI-TARS-1.5-7B", "ui-tars-1.5"),
        ("ui-tars-7b-dpo", "ui-tars"),
        ("claude-opus-4-5", "anthropic-computer"),
        ("glm-4.7", "calls"),
        ("qwen2.5-coder-1.5b", "choice"),
    ],
)
def test_a_model_is_asked_in_the_grammar_it_knows(model: str, grammar: str) -> None:
    assert grammar_of(model) is GRAMMARS[grammar]
    assert grammar_of(model, "calls") is GRAMMARS["calls"]
    with pytest.raises(FieldInvalid, match="no grammar"):
        grammar_of(model, "esperanto")


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("kind", ["phone", "browser", "desktop"])
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_every_grammar_says_where_the_model_is(grammar: str, kind: str, language: str) -> None:
    setting = Setting(kind, Paper.acts, ("Maps",), "2026-11-28", language)
    said = GRAMMARS[grammar].system(setting)
    assert "{" not in said.replace("{{secret", "")
    if not grammar.startswith("ui-tars"):
        assert "2026-11-28" in said
    json.dumps(GRAMMARS[grammar].asks(setting, SIGHT))


def test_a_schema_offers_what_is_on_the_screen_and_what_the_device_can() -> None:
    asks = GRAMMARS["choice"].asks(Setting("phone", Paper.acts), SIGHT)
    branches = asks["response_format"]["json_schema"]["schema"]["anyOf"]
    by_name = {each["properties"]["action"]["const"]: each for each in branches}
    assert by_name["tap"]["properties"]["element"]["enum"] == [1]
    assert "hover" not in by_name
    assert "hover" in GRAMMARS["choice"].system(Setting("browser", Paper.acts | {Hover}))
    nothing = Sight(Screen(b"", 10, 10, "app"))
    empty = GRAMMARS["choice"].asks(Setting("phone", Paper.acts), nothing)["response_format"]["json_schema"]["schema"]
    assert "tap" not in {each["properties"]["action"]["const"] for each in empty["anyOf"]}
