"""The engine of classic GLMs when callers are slow or leave, and when a step of the model fails: on its own socket.

It needs torch; where that is missing each test says that it was skipped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from learned_texts import POEM, POEM_REST
from openmaas.core.clock import Clock
from openmaas.core.errors import ExtraMissing
from openmaas.engines.glm.folder import check_extra
from openmaas.engines.meter import Meter, MeterLine, find
from openmaas.engines.server import Server
from openmaas.engines.spec import EngineSpec

SLOTS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a model that knows how a poem goes on."""
    if find_spec("torch") is None:
        pytest.skip("openglm needs torch: make setup-glm")
    from learned_glm import learned  # noqa: PLC0415 - torch is an extra

    return learned(tmp_path_factory.mktemp("checkpoint") / "glm")


class Place:
    """An engine that listens in this process, and what its model does before it computes."""

    def __init__(self, engine: Any, folder: Path) -> None:
        self.engine = engine
        self.socket = str(folder / "e.sock")
        self.meter = folder / "meter"
        self.before: Callable[[], None] = lambda: None
        model = engine._scheduler._rows._model
        computed = model.hidden

        def hidden(*arguments: Any) -> Any:
            self.steps += arguments[0].shape[1] == 1
            self.before()
            return computed(*arguments)

        self.steps = 0
        model.hidden = hidden

    async def ask(self, request_id: str, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        body = json.dumps({"prompt": POEM, "temperature": 0, **fields}).encode()
        reader, writer = await asyncio.open_unix_connection(self.socket)
        head = f"POST /v1/completions HTTP/1.1\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def answer(self, request_id: str, **fields: Any) -> tuple[int, Any]:
        reader, writer = await self.ask(request_id, **fields)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        told = json.loads(await reader.readexactly(length))
        writer.close()
        return int(head.split()[1]), told

    async def counted(self, request_id: str) -> MeterLine:
        """The meter's line, once it is written."""
        while request_id not in (found := find(self.meter, [request_id])):
            await asyncio.sleep(0.01)
        return found[request_id]


Story = Callable[[Place], Awaitable[None]]


@pytest.fixture
def play(folder: Path, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a story with an engine."""

    async def played(story: Story) -> None:
        from openmaas.engines.glm.engine import Glm  # noqa: PLC0415 - torch is an extra

        spec = EngineSpec(
            kind="glm",
            model="m",
            socket=str(tmp_path / "e.sock"),
            meter=str(tmp_path / "meter"),
            weights=str(folder),
            slots=SLOTS,
            options={"threads": 1},
        )
        engine = Glm(spec, Meter(spec.meter, Clock()), Clock())
        await engine.start()
        server = Server(engine)
        listening = await asyncio.get_running_loop().create_unix_server(server.connection, spec.socket)
        place = Place(engine, tmp_path)
        try:
            await asyncio.wait_for(story(place), 60)
            assert engine._scheduler is not None
            assert engine._scheduler._rows.free == SLOTS, "a row was not given back"
            assert (await place.answer("last"))[1]["choices"][0]["text"] == POEM_REST
        finally:
            listening.close()
            engine.stop()

    return lambda story: asyncio.run(played(story))


def test_who_half_closes_is_told_a_count_in_which_every_step_is(play: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        reader, writer = await place.ask("r", stream=True, ignore_eos=True, max_tokens=3_000)
        await reader.readuntil(b"data: ")
        writer.write_eof()
        events = (await reader.read()).split(b"data: ")
        told = json.loads(events[-1].partition(b"\n")[0])
        line = await place.counted("r")
        assert told["cancelled"] is True
        assert told["usage"]["completion_tokens"] == line.completion_tokens == place.steps < 3_000
        assert (line.outcome, line.prompt_tokens) == ("cancelled", 19)
        await asyncio.sleep(0.1)
        assert place.steps == line.completion_tokens  # nothing was computed since
        writer.close()

    play(story)


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_gone_stops_the_work_and_leaves_a_count(play: Callable[[Story], None], stream: bool) -> None:
    async def story(place: Place) -> None:
        _, writer = await place.ask("r", stream=stream, ignore_eos=True, max_tokens=3_000, n=2)
        while place.steps < 5:
            await asyncio.sleep(0.001)
        writer.transport.abort()
        line = await place.counted("r")
        assert line.outcome == "cancelled"
        assert line.completion_tokens == 2 * place.steps < 6_000

    play(story)


def test_who_leaves_while_it_waits_for_a_row_costs_nothing(play: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        _, long = await place.ask("long", ignore_eos=True, max_tokens=3_000, n=SLOTS)
        while place.steps < 2:
            await asyncio.sleep(0.001)
        reader, waits = await place.ask("waits")
        await asyncio.sleep(0.02)
        waits.write_eof()
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"499"
        line = await place.counted("waits")
        assert (line.prompt_tokens, line.completion_tokens, line.outcome) == (0, 0, "cancelled")
        long.transport.abort()
        await place.counted("long")
        waits.close()

    play(story)


def test_more_choices_than_rows_are_answered_one_after_the_other(play: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        status, told = await place.answer("r", n=2 * SLOTS + 1)
        assert status == 200
        assert [choice["text"] for choice in told["choices"]] == [POEM_REST] * (2 * SLOTS + 1)
        assert told["usage"]["prompt_tokens"] == 19
        assert told["usage"]["completion_tokens"] == 19 * (2 * SLOTS + 1)

    play(story)


def test_a_slow_reader_pauses_its_rows_and_nobody_else_s(play: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        reader, writer = await place.ask("slow", stream=True, ignore_eos=True, max_tokens=4_000, n=2)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while place.steps != before:
            before = place.steps
            await asyncio.sleep(0.3)
        assert 0 < before < 4_000, "nothing paused it"
        assert (await place.answer("other"))[1]["choices"][0]["text"] == POEM_REST
        assert place.steps == before + 19  # those of the other alone
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        whole = await _until_done(reader)
        assert (await place.counted("slow")).completion_tokens == 8_000
        assert whole.count(b'"finish_reason":"length"') == 2
        writer.close()

    play(story)


async def _until_done(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while b"[DONE]" not in whole[-100:]:
        whole += await reader.read(1 << 16)
    return whole


def test_a_step_that_fails_fails_who_took_part_and_nobody_after(play: Callable[[Story], None]) -> None:
    async def story(place: Place) -> None:
        def broken() -> None:
            if place.steps == 10:
                raise RuntimeError("not enough memory: you tried to allocate 1 byte\nand a long trace")

        place.before = broken
        failed = await asyncio.gather(*(place.answer(f"r{number}", ignore_eos=True, max_tokens=50) for number in "ab"))
        for status, told in failed:
            assert (status, told["error"]["code"]) == (500, "engine_failed")
            assert "not enough memory: you tried to allocate 1 byte." in told["error"]["message"]
        assert (await place.counted("ra")).outcome == "failed"
        place.before = lambda: None

    play(story)


def test_without_torch_it_says_which_command_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExtraMissing, match=r"torch is not installed; run `make setup-glm`"):
        check_extra()
