"""What the commands of the simulated phone's shell act on: its screen, its applications, its settings, its files."""

from __future__ import annotations

import httpx
import msgspec

from openmaas.apps.simphone.glass import Glass
from openmaas.core import bounds
from openmaas.core.errors import DeviceLost

#: Input methods: the phone's own, which has ASCII alone, and the one that takes broadcasts.
OWN_KEYBOARD = "sim.keyboard/.SimIME"
ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"


class App(msgspec.Struct, frozen=True):
    """An application of the world that the phone shows, with its name by language."""

    package: str
    name: dict[str, str]

    def label(self, language: str) -> str:
        """Its name in this language, or in any."""
        return self.name.get(language) or next(iter(self.name.values()), self.package)


class System:
    """A phone's state. Nothing of it outlives the phone."""

    def __init__(self, glass: Glass, apps: tuple[App, ...], language: str, *, adb_keyboard: bool) -> None:
        self.glass = glass
        self.apps = apps
        self.language = language
        self.settings = {"default_input_method": OWN_KEYBOARD}
        self.input_methods = (OWN_KEYBOARD, ADB_KEYBOARD) if adb_keyboard else (OWN_KEYBOARD,)
        self.enabled = [*self.input_methods]  # as who installs one does
        self.files: dict[str, bytes] = {}

    @property
    def input_method(self) -> str:
        """Which one types now."""
        return self.settings["default_input_method"]

    def app(self, package: str) -> App | None:
        """The application of this package."""
        return next((app for app in self.apps if app.package == package), None)


async def read_apps(base_url: str) -> tuple[App, ...]:
    """The applications of the world at this address."""
    try:
        async with httpx.AsyncClient(timeout=bounds.SIMPHONE_PAGE_TIMEOUT_S) as client:
            answer = (await client.get(f"{base_url}/apps.json")).raise_for_status()
        return tuple(msgspec.json.decode(answer.content, type=list[App]))
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        raise DeviceLost(f"its world does not list its apps: {error}") from None
