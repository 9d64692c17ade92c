"""Devices that tests drive, each opened by its name in ``OPENERS``, and the small world that all of them show.

Whoever adds a driver adds one opener: an async context manager that is given the world's address and yields an
``Opened``. A driver that does what the contract says then passes ``tests/contracts/test_drivers.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from openmaas.apps.drivers.acts import Tap
from openmaas.apps.drivers.adb import server
from openmaas.apps.drivers.adb.android import open_android
from openmaas.apps.drivers.driver import Driver, Element, Screen
from openmaas.apps.simphone.phone import SimPhone

#: A loaded machine is slow: what is waited for comes within this, and a test that fails takes so long.
WAIT_S = 30.0

_STYLE = """<meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1"><style>
body { margin: 8px; font: 16px sans-serif } button, input, textarea { font: inherit; min-height: 34px }
#track { height: 50px; background: #dde; touch-action: none } #list { height: 120px; overflow: auto }
p { margin: 4px 0 }</style>"""
HOME = f"""<!doctype html>{_STYLE}<title>home</title><h1>Home</h1><p>in LANGUAGE</p><a href="/trial/">Trial</a>"""
TRIAL = f"""<!doctype html>{_STYLE}<title>trial</title>
<p id=said>nothing yet</p>
<p><button id=tap>Tap me</button> <button id=twice>Tap twice</button> <button id=hold>Hold me</button></p>
<p><input id=name aria-label=Name style="width: 45%"> <input id=secret type=password aria-label=Secret size=8></p>
<p><textarea id=note aria-label=Note rows=2 style="width: 90%"></textarea></p>
<p><label><input id=agree type=checkbox> Agree</label> <a href="next">Next page</a></p>
<div id=track>Track</div>
<div id=list>{"".join(f"<p>line {number}</p>" for number in range(1, 61))}</div>
<script>
const say = text => {{ document.getElementById('said').textContent = text; document.title = text }};
const on = (id, kind, what) => document.getElementById(id).addEventListener(kind, what);
on('tap', 'click', () => say('tapped'));
on('twice', 'dblclick', () => say('tapped twice'));
let held;
on('hold', 'pointerdown', () => {{ held = setTimeout(() => say('held'), 600) }});
for (const kind of ['pointerup', 'pointercancel', 'pointerleave']) on('hold', kind, () => clearTimeout(held));
on('hold', 'contextmenu', event => {{ event.preventDefault(); say('held') }});
let from;
on('track', 'pointerdown', event => {{ from = event.clientX }});
on('track', 'pointerup', event => {{ if (event.clientX - from > 50) say('swiped right') }});
on('track', 'pointerup', event => {{ if (event.clientX - from < -50) say('swiped left') }});
on('name', 'keydown', event => {{ if (event.key === 'Enter') say('entered') }});
</script>"""
NEXT = f"""<!doctype html>{_STYLE}<title>next</title><h1>The next page</h1>"""
BANK = f"""<!doctype html>{_STYLE}<title>bank</title><meta name="secure" content="1"><button>Pay</button>"""
APPS = [
    {"package": "sim.trial", "name": {"zh": "试验", "en": "Trial"}},
    {"package": "sim.bank", "name": {"zh": "银行", "en": "Bank"}},
]


@contextlib.contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The address of an application that a thread of its own serves, for whoever blocks while it asks."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        serving = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            serving.should_exit = True
            thread.join()


@contextlib.contextmanager
def world() -> Iterator[str]:
    """Three pages and a list of apps, served at the address that is yielded."""
    pages = {"/": HOME, "/trial/": TRIAL, "/trial/next": NEXT, "/bank/": BANK}

    async def page(request: Request) -> HTMLResponse:
        language = request.headers.get("accept-language", "")[:2]
        return HTMLResponse(pages[request.url.path].replace("LANGUAGE", language))

    async def apps(_: Request) -> JSONResponse:
        return JSONResponse(APPS)

    routes = [*(Route(path, page) for path in pages), Route("/apps.json", apps)]
    with listening(Starlette(routes=routes)) as url:
        yield url


@dataclass
class Opened:
    """A driver with the world's home page in front. ``trial`` is what ``Launch`` calls the page of the tests, ``kill``
    ends the device under the driver's hands."""

    driver: Driver
    trial: str
    kill: Callable[[], Awaitable[None]]

    async def until(self, wanted: Callable[[Screen], object]) -> Screen:
        """The first screen of which this is true."""
        deadline = time.monotonic() + WAIT_S
        while True:
            screen = await self.driver.look()
            if wanted(screen):
                return screen
            assert time.monotonic() < deadline, [(each.role, each.text, each.value) for each in screen.elements]
            await asyncio.sleep(0.1)

    async def said(self, text: str) -> Screen:
        """The screen once it shows this text."""
        return await self.until(lambda screen: any(text in each.text for each in screen.elements))

    async def tap(self, text: str, role: str = "") -> None:
        """Tap what is called so, once it is there."""
        await self.driver.do(Tap(element(await self.said(text), text, role).box.middle))


def element(screen: Screen, text: str, role: str = "") -> Element:
    """The one element that is called so."""
    (found,) = [each for each in screen.elements if each.text == text and (not role or each.role == role)]
    return found


def needs(*programs: str) -> None:
    """Skip the test, and say how to have what it lacks."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: run `make setup-browser`")


@contextlib.contextmanager
def adb_server() -> Iterator[int]:
    """An adb server of the test's own on a free port; its keys stay in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="adb-") as home:
        environment = os.environ | {"HOME": home, "ADB_LOCAL_TRANSPORT_MAX_PORT": "0", "ADB_MDNS": "0"}
        process = subprocess.Popen(
            ["adb", "-P", str(port), "nodaemon", "server"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + WAIT_S
            while not _listens(port):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def android(base_url: str) -> AsyncIterator[Opened]:
    """A simulated phone behind a real adb server."""
    needs("adb", "chromium")
    with adb_server() as port:
        async with contextlib.AsyncExitStack() as stack:
            phone = await stack.enter_async_context(SimPhone(base_url))
            await server.connect(phone.serial, port)
            driver = await open_android(phone.serial, port)
            yield Opened(driver, "试验", stack.aclose)
            await driver.close()


OPENERS = {"android": android}
