"""The simulated phone's pages: whole, labelled, in one language, and no place for a stranger's code."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode, urljoin

import httpx
import pytest

import openmaas.apps.simphone.world
from openmaas.apps.serving import served
from openmaas.apps.simphone.world.judge import judge
from openmaas.apps.simphone.world.state import APPS
from openmaas.apps.simphone.world.task import Task, tasks
from openmaas.apps.simphone.world.wording import LANGUAGES
from openmaas.apps.simphone.world.world import world
from openmaas.core import bounds
from simphone_browser import Browser, Node, fields_of, label_of

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=timezone(timedelta(hours=8)))
FOLDER = Path(openmaas.apps.simphone.world.__file__).parent
#: Latin letters that a Chinese page may have: addresses of mail, numbers of trains, codes.
LATIN = re.compile(r"[\w.]+@[\w.]+|\b[A-Z]{1,2}\d+\b|\bnet-\d+\b|\b[A-D]\d?\b|5G|Re:")
CODE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7*7 }}"


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.id)
@pytest.mark.parametrize(("seed", "language"), [(4, "zh"), (5, "en"), (6, "zh")])
def test_a_task_is_done_by_walking_through_the_pages(task: Task, seed: int, language: str) -> None:
    made = world(seed, language, NOW)
    asyncio.run(Browser(made).follow(task.steps(made)))
    verdict = judge(task, made)
    assert verdict.passed, verdict.why


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_whole_and_in_its_language(language: str) -> None:
    pages = asyncio.run(explored(language, 7))
    assert {path.split("/")[1] for path in pages if path.count("/") > 1} >= {*APPS}
    assert len(pages) > 300
    for path, page in pages.items():
        check_page(path, page, language)


async def explored(language: str, seed: int) -> dict[str, Node]:
    """Every page that links and forms lead to, forms sent as they stand; the world changes under way."""
    browser = Browser(world(seed, language, NOW))
    seen: dict[str, Node] = {}
    todo: list[tuple[str, list[tuple[str, str]] | None]] = [("/", None)]
    done: Counter[str] = Counter()
    while todo:
        url, form = todo.pop(0)
        shape = re.sub(r"day=[\d-]*|/offer/\d+|offer=\d+", "", f"{url} {form}")
        done[shape] += 1
        if done[shape] > (1 if shape == f"{url} {form}" else 8):  # a few of all the days and offers
            continue
        await browser.go(url, form)
        assert browser.status in (200, 404, 409, 400), (url, form, browser.status)
        seen[f"{url} {form or ''}".strip()] = browser.page
        here = browser.url
        links = [urljoin(here, link.attrs["href"]) for link in browser.page.all("a")]
        todo += [(link.removeprefix("http://phone"), None) for link in links]
        for each in browser.page.all("form"):
            where = urljoin(here, each.attrs["action"]).removeprefix("http://phone")
            if each.attrs.get("method") == "post":
                todo.append((where, fields_of(each)))
            else:
                todo.append((f"{where}?{urlencode(fields_of(each))}", None))
    return seen


def check_page(path: str, page: Node, language: str) -> None:
    assert page.all("html")[0].attrs["lang"] == language
    assert page.all("title")[0].text, path
    assert not page.all("script", "iframe", "img", "object"), path
    for node in page.walk():
        for name in ("href", "src", "action"):
            target = node.attrs.get(name, "/")
            assert (target.startswith("/") and not target.startswith("//")) or target == "data:,", (path, target)
        assert not any(name.startswith("on") or name == "style" for name in node.attrs), path
        if node.tag in ("input", "textarea") and node.attrs.get("type") != "hidden":
            assert label_of(node), (path, node.attrs)
        if node.tag in ("a", "button"):
            assert node.text, (path, node.attrs)
    body = page.all("body")[0]
    for text in [*body.chunks(), *(node.attrs.get("aria-label", "") for node in body.walk())]:
        if language == "zh":
            assert not re.search(r"[A-Za-z]{2,}", LATIN.sub("", text)), (path, text)
        else:
            assert not re.search(r"[\u3000-\u9fff\uff00-\uffef]", text), (path, text)


def test_what_somebody_writes_is_shown_as_it_is_and_never_run() -> None:
    async def scenario() -> None:
        made = world(1, "en", NOW)
        browser = Browser(made)
        state = made.state
        state.popups.clear()
        sent = 0
        for path in ("/delivery/addresses", "/shop/addresses", "/chat/talk/1", "/mail/compose", "/notes/new"):
            sent += await fill(browser, path)
        for path in (
            "/notes/1",
            "/calendar/new",
            "/calendar/1",
            "/bank/payees",
            "/notes/",
            "/mail/",
            "/chat/",
            "/shop/",
        ):
            sent += await fill(browser, path)
        for path in (
            "/delivery/checkout",
            "/delivery/goods/1",
            "/bank/transfer",
            "/bank/bills/1/confirm",
            "/shop/login",
        ):
            sent += await fill(browser, path)
        assert sent > 25
        shown = 0
        for url in (
            "/delivery/addresses",
            "/delivery/checkout",
            "/chat/",
            "/chat/talk/1",
            "/mail/?folder=sent",
            "/notes/",
        ):
            await browser.go(url)
            shown += check_shown(browser)
        for url in ("/notes/1", f"/notes/{max(note.id for note in state.notes.notes)}", "/calendar/", "/bank/payees"):
            await browser.go(url)
            shown += check_shown(browser)
        for url in (
            "/calendar/1",
            f"/mail/letter/{max(each.id for each in state.mail.letters)}",
            f"/mail/?{urlencode({'q': CODE})}",
        ):
            await browser.go(url)
            shown += check_shown(browser)
        assert shown > 12

    asyncio.run(scenario())


async def fill(browser: Browser, path: str) -> int:
    """Write code into each field of every form there; what is no number or date stays as it is."""
    await browser.go(path)
    sent = 0
    for form in browser.page.all("form"):
        fields = [node for node in form.all("input", "textarea") if node.attrs.get("type") not in ("radio", "checkbox")]
        for node in fields:
            keep = node.attrs["name"] in ("date", "time", "folder", "answers", "goods", "payee", "amount")
            if node.attrs.get("type") == "hidden" or keep:
                continue
            if node.tag == "textarea":
                node.children[:] = [CODE]
            else:
                node.attrs["value"] = "x@y.example" if node.attrs["name"] == "to" else CODE
            sent += 1
        where, values = urljoin(browser.url, form.attrs["action"]), fields_of(form)
        if form.attrs.get("method") == "post":
            await browser.go(where, values)
        else:
            await browser.go(f"{where}?{urlencode(values)}")
        assert browser.status < 500
        check_shown(browser)
    return sent


def check_shown(browser: Browser) -> int:
    """No element came of what was written, and no template ran in it. How often it is shown."""
    assert not browser.page.all("script", "img")
    values = [value for node in browser.page.walk() for value in node.attrs.values()]
    return sum(CODE in text for text in [*browser.page.chunks(), *values])


def test_fields_that_nobody_would_send_are_refused_and_nothing_breaks() -> None:
    async def scenario() -> None:
        made = world(1, "en", NOW)
        browser = Browser(made)
        for url in (
            "/calendar/day?day=0001-01-01",
            "/calendar/?day=9999-12-31",
            "/tickets/found?kind=boat",
            "/mail/?folder=x",
        ):
            await browser.go(url)
            assert browser.status == 400, url
        for path, form in (
            ("/delivery/add", [("goods", "1"), ("option", "?"), ("count", "1")]),
            ("/delivery/add", [("goods", "1"), ("option", "?"), ("count", "9" * 99)]),
            ("/shop/order", [("address", "1")]),
            ("/bank/transfer", [("payee", "1"), ("amount", "1e9"), ("pin", "")]),
            ("/bank/transfer", [("payee", "1"), ("amount", "-5"), ("pin", str(made.state.plot["pin"]))]),
            ("/tickets/book", [("offer", "1"), ("seat", "?")]),
            ("/notes/new", [("title", "x" * (bounds.SIM_TEXT_LENGTH_MAX + 1))]),
            ("/notes/new", [("title", "x" * (bounds.SIM_FORM_BYTES_MAX + 1))]),
            ("/mail/letter/1/move", [("folder", "nowhere")]),
        ):
            await browser.go(path, form)
            assert browser.status in (400, 409, 413), path
        assert made.state.tables() == made.before

    asyncio.run(scenario())


def test_a_pop_up_lies_over_the_page_until_it_is_answered() -> None:
    async def scenario() -> None:
        made = world(1, "en", NOW)
        made.state.popups.add("shop")
        browser = Browser(made)
        await browser.go("/shop/")
        assert browser.top is not browser.page
        await browser.tap(browser.find("No, thanks")[0])
        assert browser.top is browser.page
        assert made.state.tables() == made.before
        made.state.popups.add("shop")
        await browser.go("/shop/")
        await browser.tap(browser.find("Join for")[0])
        assert [each.cents for each in made.state.memberships] == [bounds.SIM_MEMBERSHIP_CENTS]

    asyncio.run(scenario())


def test_pages_that_want_a_secret_say_so_and_no_other_does() -> None:
    pages = asyncio.run(explored("en", 8))
    secret = {path for path, page in pages.items() if any(node.attrs.get("type") == "password" for node in page.walk())}
    secure = {
        path for path, page in pages.items() if any(node.attrs.get("name") == "secure" for node in page.all("meta"))
    }
    assert secret == secure
    assert any("/bank/" in path for path in secure)
    assert any("/shop/" in path for path in secure)


def test_three_wrong_pins_lock_the_bank() -> None:
    async def scenario() -> None:
        made = world(1, "en", NOW)
        browser = Browser(made)
        for _ in range(bounds.SIM_PINS_WRONG_MAX):
            await browser.go("/bank/bills/1", [("pin", "x")])
            assert browser.status == 409
        await browser.go("/bank/bills/1", [("pin", str(made.state.plot["pin"]))])
        assert "locked" in browser.page.text
        assert made.state.tables() == made.before

    asyncio.run(scenario())


def test_a_world_is_served_on_a_port_and_names_its_applications() -> None:
    async def scenario() -> None:
        async with served(world(1, "zh", NOW).app) as base, httpx.AsyncClient(timeout=60) as client:
            listed = (await client.get(f"{base}/apps.json")).json()
            assert listed[0] == {"package": "sim.delivery", "name": {"zh": "外卖", "en": "Food delivery"}}
            assert [each["package"] for each in listed] == [f"sim.{app}" for app in APPS]
            for app in APPS:
                assert (await client.get(f"{base}/{app}/")).status_code == 200
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(timeout=60) as client:
                await client.get(f"{base}/")

    asyncio.run(scenario())


def test_both_languages_have_the_same_words_and_the_same_matter() -> None:
    def shape(value: object) -> object:
        match value:
            case dict():
                return {name: shape(each) for name, each in value.items()}
            case list():
                return [shape(each) for each in value]
            case str():
                return sorted(re.findall(r"{[\w:]*}", value))
            case _:
                return value

    zh, en = (tomllib.loads((FOLDER / "words" / f"{tongue}.toml").read_text()) for tongue in LANGUAGES)
    del zh["date_form"], en["date_form"]
    assert shape(zh) == shape(en)
    assert not set(zh["ui"]) & set(dir(dict)), "a template would find the dictionary's own"
