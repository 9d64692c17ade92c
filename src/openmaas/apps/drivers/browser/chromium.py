"""How a Chromium is started that talks to nobody but its gate.

All that it wants of the network goes to the proxy: loopback as well, which browsers except on their own, and names
unresolved. What cannot go through a proxy is off: QUIC, and WebRTC's own UDP. What a browser does for itself in the
background (updates, safe browsing, translation, variations) is off too, or fails at the gate. Its profile is a new
folder that goes with it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from playwright.async_api import BrowserContext, Playwright, Route

from openmaas.core.bounds import BROWSER_START_S
from openmaas.core.errors import ExtraMissing

#: Debian's name, and those of others.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: Chromium takes the last list it is given, so that what Playwright turns off for a steady page is here again.
OFF = (
    *("AcceptCHFrame", "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "GlobalMediaControls"),
    *("HttpsUpgrades", "LensOverlay", "PaintHolding", "RenderDocument", "ThirdPartyStoragePartitioning"),
    *("AsyncDns", "AutofillServerCommunication", "DialMediaRouteProvider", "DnsOverHttps", "MediaRouter"),
    *("OptimizationHints", "SigninProcessIsolation", "Translate"),
)
FLAGS = (
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-quic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--dns-prefetch-disable",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-smooth-scrolling",
    "--no-pings",
    "--no-first-run",
    "--disable-default-apps",
    "--disable-component-extensions-with-background-pages",
    "--allow-browser-signin=false",
    f"--disable-features={','.join(OFF)}",
)


def program() -> str:
    """Where a Chromium is on this machine. Raises ``ExtraMissing`` if there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise ExtraMissing("no Chromium on this machine: `make setup-browser`, or name one")
    return found


async def start(
    playwright: Playwright, path: str, profile: str, port: int, size: tuple[int, int], scale: float, headless: bool
) -> BrowserContext:
    """A browser whose pages have ``size`` pixels of the screenshot, ``scale`` of them to one of the page's own."""
    # Its sandbox needs a user: root must do without.
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    return await playwright.chromium.launch_persistent_context(
        profile,
        executable_path=path,
        headless=headless,
        args=[*FLAGS, f"--proxy-server=http://127.0.0.1:{port}", *sandbox],
        viewport={"width": round(size[0] / scale), "height": round(size[1] / scale)},
        device_scale_factor=scale,
        accept_downloads=False,
        timeout=BROWSER_START_S * 1000,
    )


async def keep_files(context: BrowserContext, files: tuple[str, ...]) -> None:
    """No file is read outside the listed ones and folders.

    Where none is listed nothing needs to be done: only a page that is a file may lead to another.
    """

    async def judge(route: Route) -> None:
        if listed(route.request.url, files):
            await route.fallback()
        else:
            await route.abort("accessdenied")

    if files:
        await context.route(re.compile("^file:", re.IGNORECASE), judge)


def listed(url: str, files: tuple[str, ...]) -> bool:
    """Whether an address of a file is one of these, or in one of these folders."""
    there = Path(url2pathname(urlsplit(url).path)).resolve()
    return any(there.is_relative_to(Path(file).resolve()) for file in files)
