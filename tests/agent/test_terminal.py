"""A person at a terminal: questions wait for a line, the keyboard is never lost, no screen writes over a question."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any

import pytest
from click.testing import CliRunner

from openmaas.apps.agent import events as e
from openmaas.apps.agent.gate import Answer, Risk, Ruling
from openmaas.apps.agent.reins import Cancelled, Reins
from openmaas.cli.main import main
from openmaas.cli.terminal import Terminal, harmless, told

RULING = Ruling(Answer.ASK, (Risk.PAYMENTS,), ("'pay' says 'pay'",))
Types = Callable[[str], None]


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """What is written here is typed at the terminal."""
    there, here = os.pipe()
    write = os.fdopen(here, "wb", buffering=0)
    read = os.fdopen(there)
    monkeypatch.setattr("sys.stdin", read)
    yield write
    write.close()  # which ends the terminal's reader
    while any(each.name.startswith("keyboard") for each in threading.enumerate()):
        time.sleep(0.01)
    read.close()


def at(what: Callable[[Terminal, Reins], Awaitable[Any]]) -> Any:
    """Do something at a terminal, in a loop whose signals are as before afterwards."""

    async def run() -> Any:
        reins = Reins()
        terminal = Terminal(reins, alone=False)
        try:
            return await asyncio.wait_for(what(terminal, reins), 20)
        finally:
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().remove_signal_handler(each)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("n\n", False), ("\n", False), ("what?\nYES\n", True), ("是\n", True)]
)
def test_a_person_says_yes_in_so_many_words_or_it_is_no(keyboard: IO[bytes], typed: str, agreed: bool) -> None:
    async def ask(terminal: Terminal, _: Reins) -> bool:
        asked = asyncio.ensure_future(terminal.agree("tap", RULING))
        for line in typed.splitlines(True):
            await asyncio.sleep(0.05)
            keyboard.write(line.encode())
        return await asked

    assert at(ask) is agreed


def test_a_question_that_is_cancelled_leaves_the_keyboard_to_the_next(keyboard: IO[bytes]) -> None:
    async def ask(terminal: Terminal, reins: Reins) -> str:
        first = asyncio.ensure_future(reins.through(terminal.answer("first?")))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.ensure_future(terminal.answer("second?"))
        await asyncio.sleep(0.05)
        keyboard.write(b"rice\n")
        return await second

    assert at(ask) == "rice"


def test_enter_lets_a_paused_task_go_on_and_a_second_interrupt_ends_it(keyboard: IO[bytes]) -> None:
    async def pause(terminal: Terminal, reins: Reins) -> None:
        del terminal
        os.kill(os.getpid(), signal.SIGINT)
        while not reins.paused:
            await asyncio.sleep(0.01)
        keyboard.write(b"\n")
        await reins.ready()
        os.kill(os.getpid(), signal.SIGINT)
        while not reins.paused:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled):
            await reins.ready()

    at(pause)


def test_a_terminal_that_is_told_to_end_ends_the_task_first(keyboard: IO[bytes]) -> None:
    del keyboard

    async def end(terminal: Terminal, reins: Reins) -> None:
        waiting = asyncio.ensure_future(reins.through(terminal.answer("?")))
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Cancelled):
            await waiting

    at(end)


def test_a_keyboard_that_has_ended_answers_nothing(keyboard: IO[bytes]) -> None:
    keyboard.close()

    async def ask(terminal: Terminal, _: Reins) -> None:
        for _again in range(2):
            with pytest.raises(Cancelled, match="nobody"):
                await terminal.take_over("the PIN")

    at(ask)


def test_no_text_moves_a_terminals_cursor() -> None:
    line = told(e.Thought(at_ms=0, step=1, thinking="\x1b[1A\x1b[2K fake \u202e", action="tap"))
    assert not {"\x1b", "\u202e"} & set(harmless(line))
    assert harmless("a\tb\n你好") == "a\tb\n你好"


MISTAKES = {
    "phone x --model m": "OPENMAAS_KEY",
    "phone x --model m --key k --device nosuch": "'nosuch'",
    "phone x --model m --key k --device sim:many": "many",
    "phone x --model m --key k --secret pin=NOSUCH": "NAME@APP=VARIABLE",
    "phone x --model m --key k --device sim --policy payments=never": "payments=deny",
    "computer x --model m --key k": "--browser",
    "traces report nosuch page.html": "holds no trace",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_named(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENMAAS_KEY", raising=False)
    found = CliRunner().invoke(main, line.split(" "))
    assert (found.exit_code, type(found.exception)) == (2, SystemExit), found.output
    assert MISTAKES[line] in found.output
