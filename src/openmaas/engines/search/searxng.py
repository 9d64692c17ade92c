"""Looks in the web by way of an operator's SearXNG. https://docs.searxng.org/dev/search_api.html

It speaks its documented JSON answers and nothing else; the instance must allow them (``search.formats`` in its
``settings.yml``). Redirects are not followed, an answer has a bound, and all pages of one search share one time-out.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import msgspec

from openmaas.core.bounds import (
    COPY_BYTES,
    SEARCH_ANSWER_BYTES_MAX,
    SEARCH_PAGES_MAX,
    SEARCH_TIMEOUT_S,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, EngineTimedOut, FieldInvalid, OpenmaasError, Overloaded
from openmaas.core.version import VERSION
from openmaas.engines.search.query import Found, Query
from openmaas.engines.spec import Option

#: Its own words for how recent; for a week it has none, so a month is asked for and what is older is left out.
_RANGES = {"oneDay": "day", "oneWeek": "month", "oneMonth": "month", "oneYear": "year"}
#: Options that are passed on under their own names.
PASSED_ON = ("engines", "categories", "language")
_HEADERS = {"accept": "application/json", "user-agent": f"openmaas/{VERSION}"}


class _Result(msgspec.Struct):
    url: str = ""
    title: str | None = ""
    content: str | None = ""
    published: str | None = msgspec.field(default=None, name="publishedDate")
    img_src: str | None = ""
    thumbnail: str | None = ""


class _Page(msgspec.Struct):
    results: list[_Result] = []


_page = msgspec.json.Decoder(_Page)


class Searxng:
    """One instance at the address ``searxng``."""

    def __init__(self, options: Mapping[str, Option], clock: Clock) -> None:
        self._clock = clock
        url = urlsplit(str(options["searxng"]))
        try:
            usable = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
        except ValueError:
            usable = False
        if not usable or url.query or url.fragment or "@" in url.netloc:
            raise FieldInvalid("options.searxng must be such as http://127.0.0.1:8888", field="options.searxng")
        self._host, self._port = url.hostname or "", url.port
        self._path = f"{url.path.rstrip('/')}/search"
        secure = url.scheme == "https"
        self._connect: Callable[..., http.client.HTTPConnection] = (
            http.client.HTTPSConnection if secure else http.client.HTTPConnection
        )
        self._asked = {"format": "json"} | {name: str(options[name]) for name in PASSED_ON if options.get(name)}

    def open(self) -> None:
        """There is nothing to load; whether it answers is seen when it is asked."""

    def close(self) -> None:
        """A connection lives as long as its answer."""

    def find(self, query: Query) -> list[Found]:
        """See ``BackEnd``: page after page until there are enough."""
        deadline_s = self._clock.mono_s() + SEARCH_TIMEOUT_S
        domain = query.search_domain_filter.strip().lower().removeprefix("www.")
        words = f"{query.search_query} site:{domain}" if domain else query.search_query
        asked = self._asked | {"q": words}
        if query.recent_days is not None:
            asked["time_range"] = _RANGES[query.search_recency_filter]
        found: list[Found] = []
        seen: set[str] = set()
        for number in range(1, SEARCH_PAGES_MAX + 1):
            rows = self._ask(asked | {"pageno": str(number)}, deadline_s)
            fresh = {row.url: row for row in rows if row.url not in seen}
            seen |= fresh.keys()
            found += [_found(row, query) for row in fresh.values() if self._fits(row, domain, query.recent_days)]
            if len(found) >= query.count or not fresh:  # an engine behind it may know one page only
                break
        return found[: query.count]

    def _fits(self, row: _Result, domain: str, days: int | None) -> bool:
        """Not every engine behind it keeps what was asked of it."""
        host = _host(row.url)
        if not host or (domain and host != domain and not host.endswith(f".{domain}")):
            return False
        day = _day(row.published)
        if days is None or not day:
            return True
        oldest = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC) - timedelta(days=days)
        return day >= oldest.date().isoformat()

    def _ask(self, asked: Mapping[str, str], deadline_s: float) -> list[_Result]:
        connection = self._connect(self._host, self._port, timeout=max(deadline_s - self._clock.mono_s(), 0.001))
        try:
            target = f"{self._path}?{urlencode(asked)}"
            connection.request("GET", target, headers=_HEADERS)
            answer = connection.getresponse()
            if answer.status != 200:
                raise _refused(answer.status, answer.getheader("location", ""))
            return _page.decode(self._read(answer, deadline_s)).results
        except TimeoutError:
            raise EngineTimedOut(f"SearXNG took more than {SEARCH_TIMEOUT_S:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailed(f"SearXNG: {error}") from None
        except msgspec.MsgspecError as error:
            raise EngineFailed(f"SearXNG gave no JSON as it is documented: {error}") from None
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse, deadline_s: float) -> bytes:
        body = b""
        while block := answer.read1(COPY_BYTES):
            body += block
            if len(body) > SEARCH_ANSWER_BYTES_MAX:
                raise EngineFailed(f"SearXNG's answer has more than {SEARCH_ANSWER_BYTES_MAX} bytes")
            if self._clock.mono_s() > deadline_s:
                raise TimeoutError
        return body


def _refused(status: int, place: str) -> OpenmaasError:
    if 300 <= status < 400:
        return EngineFailed(f"SearXNG is not there any more, it sent us on to {place[:200]!r}: set options.searxng")
    if status == 403:
        return EngineFailed("SearXNG allows no JSON: add json to search.formats in its settings.yml")
    if status == 429:
        return Overloaded("SearXNG is at its limit", retry_after_s=1)
    return EngineFailed(f"SearXNG answered {status}")


def _found(row: _Result, query: Query) -> Found:
    images = tuple(dict.fromkeys(each for each in (row.img_src, row.thumbnail) if each))
    return Found(
        title=row.title or row.url,
        link=row.url,
        content=(row.content or "")[: query.snippet_length],
        media=_host(row.url),
        publish_date=_day(row.published),
        images=images if query.include_image else (),
    )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").removeprefix("www.") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _day(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").date().isoformat()
    except ValueError:
        return ""
