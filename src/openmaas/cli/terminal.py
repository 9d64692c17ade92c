"""A person in a terminal and an agent at work: every event is a line, questions are asked there, ^C has the reins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from openmaas.apps.agent import events as e
from openmaas.apps.agent.gate import Ruling
from openmaas.apps.agent.loop import Thinker
from openmaas.apps.agent.reins import Cancelled, Nobody, Reins
from openmaas.apps.agent.replay import Replay, kept
from openmaas.apps.agent.spending import Limits
from openmaas.apps.agent.trace import Recorder, read_trace
from openmaas.apps.agent.vault import Vault, read_secrets
from openmaas.apps.agent.work import Order, work
from openmaas.apps.client import Platform
from openmaas.apps.opening import opened
from openmaas.core.errors import FieldInvalid


class Terminal:
    """The person at this terminal. One reader has the keyboard: a line answers the question that stands, and with none
    it lets a paused task go on. A question that is cancelled leaves the keyboard to the next."""

    def __init__(self, reins: Reins, alone: bool) -> None:
        self._reins, self._alone = reins, alone
        self._loop = asyncio.get_running_loop()
        self._question: asyncio.Future[str] | None = None
        self._gone = False  # the keyboard has ended
        self._loop.add_signal_handler(signal.SIGINT, self._interrupted)
        for ends in (signal.SIGTERM, signal.SIGHUP):  # what was changed on the device is put back first
            self._loop.add_signal_handler(ends, reins.cancel)
        if not alone:
            threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    async def agree(self, action: str, ruling: Ruling) -> bool:
        """Yes or no, typed."""
        while True:
            said = (await self._ask(f"{action}\n  {'; '.join(ruling.why)}\nDo it? [y/N]")).lower()
            if said in ("y", "yes", "n", "no", "", "是", "否"):
                return said in ("y", "yes", "是")

    async def answer(self, question: str) -> str:
        """A line."""
        return await self._ask(question or "The agent asks which:")

    async def take_over(self, reason: str) -> None:
        """Enter, when the person has done it."""
        await self._ask(f"Your turn: {reason or 'do the next part by hand'}. Enter when it is done.")

    async def _ask(self, question: str) -> str:
        click.echo(harmless(question), err=True)
        if self._gone:
            raise Cancelled("nobody is there to answer")
        self._question = self._loop.create_future()
        try:
            return await self._question
        finally:
            self._question = None

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the task has ended, and its loop with it
            for line in sys.stdin:
                self._loop.call_soon_threadsafe(self._typed, line)
            self._loop.call_soon_threadsafe(self._closed)

    def _typed(self, line: str) -> None:
        if self._question is not None and not self._question.done():
            self._question.set_result(line.strip())
        else:
            self._reins.resume()

    def _closed(self) -> None:
        """Nobody will type any more."""
        self._gone = True
        if self._question is not None and not self._question.done():
            self._question.set_exception(Cancelled("nobody is there to answer"))

    def _interrupted(self) -> None:
        if self._alone or self._reins.paused or self._question is not None:
            self._reins.cancel()
            return
        self._reins.pause()
        click.echo("\npaused after this step; Enter goes on, ^C again ends the task", err=True)


def harmless(text: str) -> str:
    """A text without what a terminal obeys: words of a screen and of a model are shown there."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf"))


def work_in_terminal(task: str, device: str, as_json: bool, said: dict[str, Any]) -> None:
    """Do a task. Exit code 0 for a claim that was not refuted, 1 otherwise, 130 when it was cancelled."""
    order = Order(
        task=task,
        model=said["model"],
        grammar=said["grammar"],
        sees=said["sees"],
        language=said["language"],
        policy=said["policy"],
        expects=said["expect"],
        checker=said["checker"],
        limits=Limits(said["steps"], said["tokens"], said["seconds"], said["money"]),
    )
    vault = read_secrets(_secret(each) for each in said["secret"])
    _work(order, device, as_json, vault, said, lambda: Platform(said["url"], said["key"]))


def replay_in_terminal(
    trace: Path, device: str, expect: tuple[str, ...], secret: tuple[str, ...], as_json: bool
) -> None:
    """Play a trace again; the person is asked what they were asked then."""
    task, actions = kept(read_trace(trace))
    vault = read_secrets(_secret(each) for each in secret)
    _work(Order(task=task, model="", expects=expect), device, as_json, vault, {}, nullcontext, Replay(actions))


def _work(
    order: Order,
    device: str,
    as_json: bool,
    vault: Vault,
    said: dict[str, Any],
    ask: Callable[[], AbstractAsyncContextManager[Platform | None]],
    mind: Thinker | None = None,
) -> NoReturn:
    async def run() -> e.Ended:
        with ExitStack() as stack:
            tell = _teller(as_json, said.get("trace"), stack)
            async with opened(device, order.language, said.get("allow", ())) as driver, ask() as platform:
                reins, alone = Reins(), said.get("alone", False)
                terminal = Terminal(reins, alone)
                return await work(
                    order,
                    driver=driver,
                    platform=platform,
                    person=Nobody() if alone else terminal,
                    tell=tell,
                    reins=reins,
                    vault=vault,
                    mind=mind,
                )

    sys.exit(_code(asyncio.run(run())))


def _secret(said: str) -> tuple[str, str]:
    named, _, variable = said.rpartition("=")
    value = os.environ.get(variable, "")
    if not named or not value:
        raise FieldInvalid(f"--secret {said}: it is NAME@APP=VARIABLE, of a variable that has a value", field="secret")
    return named, value


def _teller(as_json: bool, trace: Path | None, stack: ExitStack) -> Callable[[e.AnyEvent], None]:
    recorder = Recorder(trace) if trace else None
    if recorder:
        stack.callback(recorder.close)

    def tell(event: e.AnyEvent) -> None:
        if recorder:
            recorder.tell(event)
        if as_json:
            shown = msgspec.structs.replace(event, picture=b"") if isinstance(event, e.Looked) else event
            click.echo(msgspec.json.encode(shown).decode())
        elif line := told(event):
            click.echo(harmless(line))

    return tell


def told(event: e.AnyEvent) -> str:
    """An event as a line for a person; empty for what the next one says anyway."""
    match event:
        case e.Began():
            return f"{event.device}: {event.task}"
        case e.Thought(thinking=thinking, action=action):
            return f"{event.step}. {action}" + (f"  — {' '.join(thinking.split())[:160]}" if thinking else "")
        case e.Acted(outcome=outcome):
            return f"   {outcome}"
        case e.Misread(why=why):
            return f"   not read: {why}"
        case e.Gated(ruling=ruling, agreed=agreed):
            word = {None: ruling.answer.name.lower(), True: "agreed", False: "refused"}[agreed]
            return f"   gate: {', '.join(ruling.risks)}: {word}"
        case e.Nudged(times=times):
            return f"   the same {times} times on the same screen"
        case e.Paused(by=by, reason=reason):
            return f"   paused ({by}) {reason}".rstrip()
        case e.Ended():
            verdict = (
                f": {event.verdict} ({event.verdict_why})" if event.verdict else f" ({event.why})" if event.why else ""
            )
            cost = f"{event.steps} steps, {event.tokens} tokens, {event.amount} {event.currency}".rstrip()
            return f"{event.status}{verdict}: {event.message}\n{cost}, {event.took_ms / 1000:.1f} s"
        case _:
            return ""


def _code(ended: e.Ended) -> int:
    if ended.status == "cancelled":
        return 130
    return 0 if ended.status == "done" and ended.verdict is not e.Verdict.REFUTED else 1
