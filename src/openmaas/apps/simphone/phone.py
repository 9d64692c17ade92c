"""SimPhone: a simulated phone, not Android, that the unmodified ``adb`` connects to over TCP.

    async with SimPhone("http://127.0.0.1:8000") as phone:
        ...  # adb connect 127.0.0.1:{phone.port}

Its screen shows pages of a world of applications; its shell has the few programs by which a phone is operated.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from playwright.async_api import Browser

from openmaas.apps.simphone.adbd import BANNER, services
from openmaas.apps.simphone.glass import chromium, glass
from openmaas.apps.simphone.system import System, read_apps
from openmaas.apps.simphone.transport import Wire


class SimPhone:
    """A phone that is on while its block runs. Phones that get the same ``browser`` share it."""

    def __init__(
        self,
        base_url: str,
        browser: Browser | None = None,
        *,
        port: int = 0,
        language: str = "zh",
        adb_keyboard: bool = True,
    ) -> None:
        self.port = port
        self._base_url = base_url.rstrip("/")
        self._browser = browser
        self._language = language
        self._adb_keyboard = adb_keyboard
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._open = contextlib.AsyncExitStack()

    @property
    def serial(self) -> str:
        """By which adb knows it once it has connected."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        async with self._open:
            apps = await read_apps(self._base_url)
            browser = self._browser
            if browser is None:
                browser = await self._open.enter_async_context(chromium())
            shown = await self._open.enter_async_context(glass(browser, self._base_url, self._language))
            self.system = System(shown, apps, self._language, adb_keyboard=self._adb_keyboard)
            server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self._open.push_async_callback(self._hang_up, server)
            self.port = server.sockets[0].getsockname()[1]
            self._open = self._open.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await Wire(writer, BANNER, services(self.system)).run(reader)
        finally:
            del self._connections[task]

    async def _hang_up(self, server: asyncio.Server) -> None:
        server.close()
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*self._connections)
