"""A trace keeps a task: read back as it was, played again without a model, made a test, and a page for people."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent_desk import Desk, does, pages
from openmaas.apps.agent import events as e
from openmaas.apps.agent.replay import Replay, as_test, kept, read_actions
from openmaas.apps.agent.report import report
from openmaas.apps.agent.trace import Recorder, read_trace
from openmaas.apps.drivers.paper import Page, Thing
from openmaas.core.errors import FieldInvalid

BUYS = (
    does("tap", element=2),
    does("type", text="nowhere"),
    does("tap", element=2),
    does("tap", element=2),
    does("finish", message="bought <b>noodles</b>", succeeded=True),
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A task that was done, with one action that could not be."""
    recorder = Recorder(tmp_path / "trace")
    desk = Desk(BUYS)
    asyncio.run(desk.run(told=lambda _, event: recorder.tell(event)))
    recorder.close()
    return tmp_path / "trace"


def test_a_trace_is_read_back_as_it_was(trace: Path) -> None:
    events = list(read_trace(trace))
    assert isinstance(events[0], e.Began)
    assert isinstance(events[-1], e.Ended)
    looks = [each for each in events if isinstance(each, e.Looked)]
    assert [each.picture[:4] for each in looks] == [b"\x89PNG"] * 5
    assert looks[1].elements[1].text == "Noodles"


def test_a_trace_that_was_torn_is_read_up_to_there(trace: Path) -> None:
    path = trace / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert len(list(read_trace(trace))) == len(whole.splitlines()) - 1
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(FieldInvalid, match="line 1"):
        list(read_trace(trace))


def test_a_trace_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(FieldInvalid, match="not empty"):
        Recorder(tmp_path)
    with pytest.raises(FieldInvalid, match="holds no trace"):
        list(read_trace(tmp_path / "nosuch"))


def test_it_plays_again_without_a_model(trace: Path) -> None:
    task, actions = kept(read_trace(trace))
    desk = Desk(mind=Replay(actions), expects=("on its way",))
    ended = asyncio.run(desk.run(task))
    assert ended.verdict is e.Verdict.VERIFIED
    assert desk.script.asked == []
    assert [each.agreed for each in desk.told(e.Gated)] == [None, True]  # it pays again, so a person is asked again


def test_it_finds_what_it_touched_where_it_is_now(trace: Path) -> None:
    moved = pages(
        home=Page((Thing("button", "Notes", "notes"), Thing("text", "New!"), Thing("button", "Shop", "shop")))
    )
    desk = Desk(mind=Replay(kept(read_trace(trace))[1]), pages=moved, expects=("on its way",))
    assert asyncio.run(desk.run()).verdict is e.Verdict.VERIFIED


def test_it_says_where_the_device_shows_something_else(trace: Path) -> None:
    gone = pages(shop=Page((Thing("text", "closed"),), "shop"))
    ended = asyncio.run(Desk(mind=Replay(kept(read_trace(trace))[1]), pages=gone).run())
    assert ended.status == "failed"
    assert "action 2" in ended.message
    assert "'Noodles'" in ended.message


def test_it_becomes_a_test_with_the_same_actions(trace: Path) -> None:
    task, actions = kept(read_trace(trace))
    source = as_test('say "hi"\\', actions, name="buys", device="sim", says=("way",))
    scope: dict[str, object] = {}
    exec(compile(source, "made", "exec"), scope)  # noqa: S102 - what was made here is what is tested
    assert read_actions(str(scope["ACTIONS"])) == actions
    assert callable(scope["test_buys"])
    assert task == "Buy noodles."


def test_a_page_shows_each_step_and_lets_nothing_of_the_screen_become_markup(trace: Path) -> None:
    page = report(read_trace(trace))
    assert page.count('id="step-') == 5
    assert page.count("data:image/png") == 9  # five before, four after
    assert "&lt;b&gt;noodles" in page
    assert "<b>noodles" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "gate: ask" in page
    assert "unverified" in page


def test_a_task_that_was_broken_off_has_a_page_too(trace: Path) -> None:
    events = list(read_trace(trace))[:3]
    assert "the trace has no end" in report(events)
