"""A device by its address, as a person writes it: ``android:SERIAL``, ``sim:7``, ``browser:URL``, ``desktop:DISPLAY``.

Every kind of device that there is, is in ``OPENERS``; a new driver is one function here. A simulated phone is the one
that has to be made first.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import unquote, urlsplit

from openmaas.apps.drivers.adb import server
from openmaas.apps.drivers.adb.android import open_android
from openmaas.apps.drivers.browser import driver as browsing
from openmaas.apps.drivers.desktop import driver as desktops
from openmaas.apps.drivers.driver import Driver
from openmaas.apps.drivers.harmony import open_harmony
from openmaas.apps.drivers.ios import open_ios
from openmaas.apps.serving import served
from openmaas.apps.simphone.phone import SimPhone
from openmaas.apps.simphone.world.world import World, world
from openmaas.core.errors import DeviceLost, ExtraMissing, FieldInvalid

SIMULATED = "sim"
#: Where adb's server listens, as adb itself reads it.
ADB_PORT = int(os.environ.get("ANDROID_ADB_SERVER_PORT") or server.PORT)


@asynccontextmanager
async def opened(device: str, language: str = "en", allowed: tuple[str, ...] = ()) -> AsyncIterator[Driver]:
    """The driver of the device with this address, closed at the end. ``allowed``: what a browser may reach besides the
    host of its first page. Raises ``FieldInvalid``, ``DeviceLost`` and ``ExtraMissing``."""
    kind, _, address = device.partition(":")
    if kind == SIMULATED:
        if address and not address.isdecimal():
            raise FieldInvalid(
                f"behind sim: stands the number that its world grows from, not {address}", field="device"
            )
        async with simulated(world(int(address or "1"), language, datetime.now().astimezone())) as (driver, _):
            yield driver
        return
    if kind not in OPENERS:
        raise FieldInvalid(
            f"there is no kind of device {kind!r}, only {', '.join((SIMULATED, *OPENERS))}", field="device"
        )
    driver = await OPENERS[kind](address, allowed)
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def simulated(shown: World, adb_port: int = ADB_PORT) -> AsyncIterator[tuple[Driver, SimPhone]]:
    """A simulated phone that shows this world, and its driver. adb's server is started where none runs."""
    await _adb_server(adb_port)
    async with served(shown.app) as url, SimPhone(url, language=shown.language) as phone:
        await server.connect(phone.serial, adb_port)
        driver = await open_android(phone.serial, adb_port)
        try:
            yield driver, phone
        finally:
            await driver.close()
            await server.disconnect(phone.serial, adb_port)


async def _adb_server(port: int) -> None:
    try:
        await server.devices(port)
    except DeviceLost:
        adb = shutil.which("adb")
        if adb is None:
            raise ExtraMissing("a phone is driven through adb; run: make setup-browser") from None
        starting = await asyncio.create_subprocess_exec(adb, "-P", str(port), "start-server")
        await starting.wait()


async def _android(address: str, allowed: tuple[str, ...]) -> Driver:
    """A phone that adb knows; with no address the only one."""
    del allowed
    if not address:
        known = [each.serial for each in await server.devices(ADB_PORT) if each.state == "device"]
        if len(known) != 1:
            raise DeviceLost(f"adb knows {', '.join(known) or 'no device'}; name one: android:SERIAL")
        address = known[0]
    return await open_android(address, ADB_PORT)


async def _browser(address: str, allowed: tuple[str, ...]) -> Driver:
    """A browser of its own that begins with this page, and reaches its host and what is allowed besides."""
    home = address or "about:blank"
    if ":" not in home.partition("/")[0]:
        home = f"https://{home}"
    host = urlsplit(home).netloc
    files = (unquote(urlsplit(home).path),) if home.startswith("file:") else ()
    return await browsing.open_browser(
        browsing.Plan(home=home, allowed=(*filter(None, (host,)), *allowed), files=files)
    )


async def _desktop(address: str, allowed: tuple[str, ...]) -> Driver:
    """The X server of this display; with no address the one that ``DISPLAY`` names."""
    del allowed
    display = address or os.environ.get("DISPLAY", "")
    if not display:
        raise FieldInvalid("there is no display; name one: desktop::0", field="device")
    return await desktops.open_desktop(desktops.Plan(display, folders=("/usr/share/applications",)))


async def _harmony(address: str, allowed: tuple[str, ...]) -> Driver:
    """A phone that hdc knows by this name."""
    del allowed
    return await open_harmony(address)


async def _ios(address: str, allowed: tuple[str, ...]) -> Driver:
    """The phone on which the WebDriverAgent at this address runs."""
    del allowed
    return await open_ios(address)


OPENERS: dict[str, Callable[[str, tuple[str, ...]], Awaitable[Driver]]] = {
    "android": _android,
    "browser": _browser,
    "desktop": _desktop,
    "harmony": _harmony,
    "ios": _ios,
}
