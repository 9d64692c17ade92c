"""The programs of the simulated phone: the few that operate a phone through adb, with the options that are in use.

A program that is asked for more than it has says so and fails; what it writes looks like Android's where somebody
reads it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from openmaas.apps.drivers.adb.keycodes import KEYCODES
from openmaas.apps.simphone.glass import DENSITY, HEIGHT, WIDTH
from openmaas.apps.simphone.system import ADB_KEYBOARD, System
from openmaas.core import bounds

Words = Sequence[str]
KEYS = {code: key for key, code in KEYCODES.items()}
#: Names of keys that clients send in place of numbers, besides ``KEYCODE_`` and a key's name.
NAMED = {"DEL": "Backspace", "FORWARD_DEL": "Delete", "SPACE": " ", "MOVE_HOME": "Home", "MOVE_END": "End"}
HOME, BACK = ("3", "KEYCODE_HOME", "HOME"), ("4", "KEYCODE_BACK", "BACK")
PROPERTIES = {
    "ro.product.model": "SimPhone",
    "ro.product.manufacturer": "openmaas",
    "ro.product.brand": "simulated, not Android",
    "ro.build.version.release": "simulated",
    "ro.openmaas.simulated": "1",
}


class Outcome(msgspec.Struct, frozen=True):
    """What a program left."""

    code: int = 0
    out: bytes = b""
    err: bytes = b""


def _wrote(text: str) -> Outcome:
    return Outcome(0, f"{text}\n".encode())


def _failed(text: str, code: int = 1) -> Outcome:
    return Outcome(code, b"", f"{text}\n".encode())


async def _input(system: System, words: Words) -> Outcome:
    glass = system.glass
    try:
        match [word for word in words if word not in ("touchscreen", "keyboard")]:
            case ["tap", x, y]:
                await glass.tap(float(x), float(y))
            case ["swipe" | "draganddrop", *numbers] if len(numbers) in (4, 5):
                x1, y1, x2, y2, *duration = map(float, numbers)
                await glass.swipe((x1, y1), (x2, y2), int(duration[0]) if duration else 300)
            case ["text", text]:
                if not text.isascii():
                    return _failed("java.lang.NullPointerException: the key map has ASCII alone")
                await glass.text(text.replace("%s", " "))
            case ["keyevent", *names] if names:
                return await _key_events(system, [name for name in names if name != "--longpress"])
            case ["keycombination", *names] if len(names) > 1 and all(map(_key, names)):
                await glass.press([_key(name) for name in names])
            case _:
                return _failed(f"Error: Unknown command: {' '.join(words)}")
    except ValueError as error:
        return _failed(f"Error: {error}")
    return Outcome()


async def _key_events(system: System, names: Words) -> Outcome:
    for name in names:
        if name in HOME:
            await system.glass.home()
        elif name in BACK:
            await system.glass.back()
        elif key := _key(name):
            await system.glass.press([key])
        else:
            return _failed(f"Error: Unknown keycode: {name}")
    return Outcome()


def _key(name: str) -> str:
    """The ``KeyboardEvent.key`` of a key's number or name, empty when there is none."""
    if name.isdecimal():
        return KEYS.get(int(name), "")
    plain = name.removeprefix("KEYCODE_")
    folded = {key.casefold(): key for key in KEYCODES}
    return NAMED.get(plain) or folded.get(plain.casefold(), "")


async def _screencap(system: System, words: Words) -> Outcome:
    match [word for word in words if word != "-p"]:
        case []:
            return Outcome(0, await system.glass.picture())
        case [path] if not path.startswith("-"):
            system.files[path] = await system.glass.picture()
            return Outcome()
        case _:
            return _failed("usage: screencap [-p] [FILENAME]")


async def _uiautomator(system: System, words: Words) -> Outcome:
    match [word for word in words if word != "--compressed"]:
        case ["dump", "/dev/tty"]:
            return _wrote(f"{await system.glass.tree()}UI hierchary dumped to: /dev/tty")
        case ["dump", *paths] if len(paths) < 2:
            path = paths[0] if paths else "/sdcard/window_dump.xml"
            system.files[path] = (await system.glass.tree()).encode()
            return _wrote(f"UI hierchary dumped to: {path}")
        case _:
            return _failed("usage: uiautomator dump [--compressed] [file]")


async def _dumpsys(system: System, words: Words) -> Outcome:
    if words[:1] == ["input_method"]:
        return _wrote(f"Current Input Method Manager state:\n  mCurMethodId={system.input_method}")
    if words[:1] != ["window"]:
        return _failed(f"Can't find service: {' '.join(words)}")
    package = system.glass.package
    flags = "SECURE HARDWARE_ACCELERATED" if await system.glass.secure() else "HARDWARE_ACCELERATED"
    window = f"5190ae u0 {package}/{package}.Main"
    return _wrote(
        f"WINDOW MANAGER WINDOWS (simulated, not Android)\n  Window #0 Window{{{window}}}:\n"
        f"    mAttrs={{(0,0)(fillxfill) ty=BASE_APPLICATION\n      fl={flags}\n    }}\n"
        f"  mCurrentFocus=Window{{{window}}}\n  mFocusedApp=ActivityRecord{{5190af {window.partition(' ')[2]} t1}}"
    )


async def _wm(_: System, words: Words) -> Outcome:
    match words:
        case ["size"]:
            return _wrote(f"Physical size: {WIDTH}x{HEIGHT}")
        case ["density"]:
            return _wrote(f"Physical density: {160 * DENSITY}")
        case _:
            return _failed("usage: wm size|density")


async def _getprop(_: System, words: Words) -> Outcome:
    if words:
        return _wrote(PROPERTIES.get(words[0], ""))
    return _wrote("\n".join(f"[{name}]: [{value}]" for name, value in PROPERTIES.items()))


async def _pm(system: System, words: Words) -> Outcome:
    if list(words[:2]) != ["list", "packages"]:
        return _failed("usage: pm list packages [FILTER]")
    wanted = [word for word in words[2:] if not word.startswith("-")]
    packages = [app.package for app in system.apps]
    if ADB_KEYBOARD in system.input_methods:
        packages.append(ADB_KEYBOARD.partition("/")[0])
    return _wrote("\n".join(f"package:{name}" for name in packages if all(each in name for each in wanted)))


async def _cmd(system: System, words: Words) -> Outcome:
    match words:
        case ["package", "query-activities", *options]:
            if "--brief" in options:
                return _wrote("\n".join(f"  {app.package}/{app.package}.Main" for app in system.apps))
            parts = [f"{len(system.apps)} activities found:"]
            for place, app in enumerate(system.apps):
                label = app.label(system.language)
                parts.append(
                    f"  Activity #{place}:\n    ActivityInfo:\n      name={app.package}.Main\n"
                    f"      packageName={app.package}\n      labelRes=0x0 nonLocalizedLabel={label} icon=0x0 banner=0x0"
                )
            return _wrote("\n".join(parts))
        case ["package", *rest]:
            return await _pm(system, rest)
        case _:
            return _failed(f"cmd: Can't find service: {' '.join(words)}", 20)


async def _launch(system: System, package: str) -> bool:
    if system.app(package) is None:
        return False
    await system.glass.open(package)
    return True


async def _monkey(system: System, words: Words) -> Outcome:
    package = _after(words, "-p")
    if not await _launch(system, package):
        return _failed("** No activities found to run, monkey aborted.", 252)
    return _wrote("Events injected: 1")


async def _am(system: System, words: Words) -> Outcome:
    if words[:1] == ["start"]:
        component = _after(words, "-n") or f"{_after(words, '-p')}/"
        if await _launch(system, component.partition("/")[0]):
            return _wrote(f"Starting: Intent {{ cmp={component} }}")
        return _failed(f"Error type 3\nError: Activity class {{{component}}} does not exist.")
    if words[:1] == ["broadcast"]:
        if system.input_method == ADB_KEYBOARD:  # else nobody listens, and nobody is told
            try:
                await _heard(system, _after(words, "-a"), words)
            except (binascii.Error, UnicodeDecodeError):
                return _failed("Error: not base64 of UTF-8")
        return _wrote(f"Broadcasting: Intent {{ act={_after(words, '-a')} }}\nBroadcast completed: result=0")
    return _failed(f"Error: Unknown command: {' '.join(words[:1])}")


async def _heard(system: System, action: str, words: Words) -> None:
    """What ADBKeyBoard does with a broadcast."""
    if action == "ADB_INPUT_B64":
        await system.glass.text(base64.b64decode(_after(words, "msg"), validate=True).decode())
    elif action == "ADB_INPUT_TEXT":
        await system.glass.text(_after(words, "msg"))
    elif action == "ADB_CLEAR_TEXT":
        await system.glass.press(["Control", "a"])
        await system.glass.press(["Backspace"])


async def _ime(system: System, words: Words) -> Outcome:
    match words:
        case ["list", *options]:
            return _wrote("\n".join(system.input_methods if "-a" in options else system.enabled))
        case ["enable" | "set" | "disable" as verb, name] if name in system.input_methods:
            if verb == "disable":
                system.enabled = [each for each in system.enabled if each != name]
                return _wrote(f"Input method {name}: now disabled")
            if name not in system.enabled:
                if verb == "set":
                    return _failed(f"Unknown input method {name} cannot be selected for user #0")
                system.enabled.append(name)
            if verb == "set":
                system.settings["default_input_method"] = name
            return _wrote(f"Input method {name} {'selected' if verb == 'set' else ': now enabled'} for user #0")
        case _:
            return _failed(f"Unknown input method {' '.join(words[1:])} cannot be selected for user #0")


async def _settings(system: System, words: Words) -> Outcome:
    match words:
        case ["get", "secure" | "system" | "global", name]:
            return _wrote(system.settings.get(name, "null"))
        case ["put", "secure" | "system" | "global", name, value]:
            system.settings[name] = value
            return Outcome()
        case _:
            return _failed("usage: settings get|put secure NAME [VALUE]")


async def _sleep(_: System, words: Words) -> Outcome:
    try:
        await asyncio.sleep(min(float(words[0]), bounds.SIMPHONE_SLEEP_S_MAX))
    except (IndexError, ValueError):
        return _failed("usage: sleep SECONDS")
    return Outcome()


async def _echo(_: System, words: Words) -> Outcome:
    return _wrote(" ".join(words))


async def _cat(system: System, words: Words) -> Outcome:
    absent = [path for path in words if path not in system.files]
    if absent:
        return _failed(f"cat: {absent[0]}: No such file or directory")
    return Outcome(0, b"".join(system.files[path] for path in words))


async def _rm(system: System, words: Words) -> Outcome:
    for path in words:
        system.files.pop(path, None)
    return Outcome()


def _after(words: Words, option: str) -> str:
    """What stands behind an option, or nothing."""
    return next((value for name, value in itertools.pairwise(words) if name == option), "")


COMMANDS: dict[str, Callable[[System, Words], Awaitable[Outcome]]] = {
    "input": _input,
    "screencap": _screencap,
    "uiautomator": _uiautomator,
    "dumpsys": _dumpsys,
    "wm": _wm,
    "getprop": _getprop,
    "pm": _pm,
    "cmd": _cmd,
    "monkey": _monkey,
    "am": _am,
    "ime": _ime,
    "settings": _settings,
    "sleep": _sleep,
    "echo": _echo,
    "cat": _cat,
    "rm": _rm,
}
