"""A device by its address, as a person writes it: ``android:SERIAL``, ``sim``, ``browser:URL``, ``desktop:DISPLAY``.

Every kind of device that there is, is in ``OPENERS``; a new driver is one line there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from urllib.parse import urlsplit

from openmaas.apps.drivers.adb import server
from openmaas.apps.drivers.adb.android import open_android
from openmaas.apps.drivers.browser import driver as browsing
from openmaas.apps.drivers.desktop import driver as desktops
from openmaas.apps.drivers.driver import Driver
from openmaas.apps.simphone.phone import SimPhone
from openmaas.apps.simphone.world.serving import served
from openmaas.apps.simphone.world.world import World, world
from openmaas.core.errors import DeviceLost, ExtraMissing, FieldInvalid

#: Where adb's server listens, as adb itself reads it.
ADB_PORT = int(os.environ.get("ANDROID_ADB_SERVER_PORT") or server.PORT)


@asynccontextmanager
async def opened(device: str, language: str = "en", allowed: tuple[str, ...] = ()) -> AsyncIterator[Driver]:
    """The driver of the device with this address, closed at the end. ``allowed``: what a browser may reach besides the
    host of its first page. Raises ``FieldInvalid``, ``DeviceLost`` and ``ExtraMissing``."""
    kind, _, address = device.partition(":")
    opener = OPENERS.get(kind)
    if opener is None:
        raise FieldInvalid(f"there is no kind of device {kind!r}, only {', '.join(OPENERS)}", field="device")
    async with opener(address, language, allowed) as driver:
        yield driver


@asynccontextmanager
async def _android(address: str, language: str, allowed: tuple[str, ...]) -> AsyncIterator[Driver]:
    """A phone that adb knows; with no address the only one."""
    del language, allowed
    if not address:
        ready = [each.serial for each in await server.devices(ADB_PORT)]
        if len(ready) != 1:
            raise DeviceLost(f"adb knows {len(ready)} devices ({', '.join(ready) or 'none'}); name one: android:SERIAL")
        address = ready[0]
    driver = await open_android(address, ADB_PORT)
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def _simulated(address: str, language: str, allowed: tuple[str, ...]) -> AsyncIterator[Driver]:
    """A simulated phone of its own, whose world grows from the number in the address."""
    del allowed
    if address and not address.isdecimal():
        raise FieldInvalid(f"sim:{address}: behind sim: stands the number that its world grows from", field="device")
    async with simulated(world(int(address or "1"), language, datetime.now().astimezone())) as driver:
        yield driver


@asynccontextmanager
async def simulated(shown: World, adb_port: int = ADB_PORT) -> AsyncIterator[Driver]:
    """A simulated phone that shows this world, driven through adb's server, which is started where none runs."""
    await _adb_server(adb_port)
    async with served(shown) as url, SimPhone(url, language=shown.language) as phone:
        await server.connect(phone.serial, adb_port)
        driver = await open_android(phone.serial, adb_port)
        try:
            yield driver
        finally:
            await driver.close()


async def _adb_server(port: int) -> None:
    try:
        await server.devices(port)
    except DeviceLost:
        adb = shutil.which("adb")
        if adb is None:
            raise ExtraMissing(
                "a phone is driven through adb; install it (Debian: adb), or: make setup-browser"
            ) from None
        starting = await asyncio.create_subprocess_exec(adb, "-P", str(port), "start-server")
        await starting.wait()


@asynccontextmanager
async def _browser(address: str, language: str, allowed: tuple[str, ...]) -> AsyncIterator[Driver]:
    """A browser of its own that begins with this page, and reaches its host and what is allowed besides."""
    del language
    home = address or "about:blank"
    host = urlsplit(home).netloc
    files = (urlsplit(home).path,) if home.startswith("file:") else ()
    plan = browsing.Plan(home=home, allowed=(*((host,) if host else ()), *allowed), files=files)
    driver = await browsing.open_browser(plan)
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def _desktop(address: str, language: str, allowed: tuple[str, ...]) -> AsyncIterator[Driver]:
    """The X server of this display; with no address the one that ``DISPLAY`` names."""
    del language, allowed
    display = address or os.environ.get("DISPLAY", "")
    if not display:
        raise FieldInvalid("there is no display; name one: desktop::0", field="device")
    driver = await desktops.open_desktop(desktops.Plan(display, folders=("/usr/share/applications",)))
    try:
        yield driver
    finally:
        await driver.close()


Opener = Callable[[str, str, tuple[str, ...]], AbstractAsyncContextManager[Driver]]
OPENERS: dict[str, Opener] = {"android": _android, "sim": _simulated, "browser": _browser, "desktop": _desktop}
