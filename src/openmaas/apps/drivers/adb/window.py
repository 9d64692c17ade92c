"""What ``dumpsys window`` tells: which application has the focus, and whether its window may be pictured.

Its form is nobody's promise and differs between versions; what is not found is empty, never an error.
"""

from __future__ import annotations

import re

import msgspec

_FOCUS = re.compile(r"mCurrentFocus=Window\{(?P<token>\w+) \S+ (?P<title>[^}\n]+)\}")
_APP = re.compile(r"mFocusedApp=.*? (?P<package>[\w.]+)/(?P<activity>[\w.$]+)")
_FLAGS = re.compile(r"\bfl=(?P<flags>#?[\w ]+)")
#: ``WindowManager.LayoutParams.FLAG_SECURE``, where flags are a number and not names.
_SECURE = 0x2000


class Focus(msgspec.Struct, frozen=True):
    """The window in front: its application's package, and what it is called there."""

    package: str = ""
    title: str = ""
    secure: bool = False


def focus(dump: str) -> Focus:
    """The window that has the focus, by a whole ``dumpsys window``."""
    current, app = _FOCUS.search(dump), _APP.search(dump)
    title = current["title"] if current else ""
    package = app["package"] if app else title.partition("/")[0]  # a window's title is the application's own word
    return Focus(package, title.rpartition("/")[2], current is not None and _secure(dump, current["token"]))


def _secure(dump: str, token: str) -> bool:
    """Whether the part of the dump that is about this window names the flag."""
    part = re.search(rf"^\s*Window #\d+ Window\{{{token} .*?(?=^\s*Window #|\Z)", dump, re.MULTILINE | re.DOTALL)
    flags = _FLAGS.search(part[0]) if part else None
    if flags is None:
        return False
    if flags["flags"].startswith("#"):
        return bool(int(flags["flags"][1:].split()[0], 16) & _SECURE)
    return "SECURE" in flags["flags"].split()
