"""Keys and text of an X server, in any script whatever the layout is.

A key has a number, and a table says what each means. A character that the layout has is typed with its own key; for
another, keys that mean nothing are given its meaning until it has been taken. They are put back on every way out.
The table of keys is the whole server's: who else types meanwhile finds all other keys as they were.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from Xlib import X

from openmaas.apps.drivers.desktop.display import Display
from openmaas.core.errors import CannotAct

#: Of ``KEY_NAMES``, as X numbers them (keysymdef.h).
NAMED = {
    "Control": 0xFFE3,
    "Shift": 0xFFE1,
    "Alt": 0xFFE9,
    "Meta": 0xFFEB,
    "Enter": 0xFF0D,
    "Tab": 0xFF09,
    "Escape": 0xFF1B,
    "Backspace": 0xFF08,
    "Delete": 0xFFFF,
    "Insert": 0xFF63,
    " ": 0x20,
    "ArrowUp": 0xFF52,
    "ArrowDown": 0xFF54,
    "ArrowLeft": 0xFF51,
    "ArrowRight": 0xFF53,
    "Home": 0xFF50,
    "End": 0xFF57,
    "PageUp": 0xFF55,
    "PageDown": 0xFF56,
    **{f"F{number}": 0xFFBD + number for number in range(1, 13)},
}
CONTROLS = {"\n": NAMED["Enter"], "\r": NAMED["Enter"], "\t": NAMED["Tab"], "\b": NAMED["Backspace"]}
MODIFIERS = ("Control", "Alt", "Meta")
#: Where a shortcut's letter lies, in the numbers of every keyboard of Linux: under a layout without Latin letters
#: programs take a key for the letter that it has in others, as whoever presses it does.
_PLACES = {
    letter: code
    for first, row in ((24, "qwertyuiop"), (38, "asdfghjkl"), (52, "zxcvbnm"))
    for code, letter in enumerate(row, first)
}
_CAPS_LOCK = 0xFFE5
#: X numbers the characters that have no old number of their own by Unicode's, from here on.
_UNICODE = 0x01000000
#: Keys of the layout mean what the table says first only in the first of its groups.
_GROUP_BITS = 0x6000


def meaning(key: str) -> int:
    """The number of what a key means: of a name, or of a character."""
    if key in NAMED:
        return NAMED[key]
    if key in CONTROLS:
        return CONTROLS[key]
    latin = 0x20 <= ord(key) <= 0x7E or 0xA0 <= ord(key) <= 0xFF
    return ord(key) if latin else _UNICODE | ord(key)


class Keyboard:
    """The keyboard of a display. ``stop`` ends what is being typed, between two characters."""

    def __init__(self, shown: Display, stop: threading.Event) -> None:
        self._shown, self._stop = shown, stop

    def type(self, text: str) -> None:
        """Text into what has the focus. Raises ``CannotAct`` if the layout lacks something and no key can be lent."""
        with self._without_caps_lock():
            own = self._own()
            missing = list(dict.fromkeys(character for character in text if meaning(character) not in own))
            spare = self._spare()
            if missing and not spare:
                raise CannotAct(f"this keyboard has no key for {missing[0]!r} and none to spare")
            for part in _parts(text, frozenset(missing), len(spare)):
                lacking = list(dict.fromkeys(character for character in part if meaning(character) not in own))
                with self._lent(dict(zip(spare, map(meaning, lacking), strict=False))) as lent:
                    for character in part:
                        if self._stop.is_set():
                            return
                        self._strike(*{**own, **lent}[meaning(character)])

    def press(self, keys: tuple[str, ...]) -> None:
        """Keys together: down in this order, up in the other."""
        own = self._own()
        if any(key in MODIFIERS for key in keys):
            own = {**{meaning(letter): (code, False) for letter, code in _PLACES.items()}, **own}
        missing = [meaning(key) for key in keys if meaning(key) not in own]
        with self._lent(dict(zip(self._spare(), missing, strict=False))) as lent:
            places = {**own, **lent}
            unknown = [key for key in keys if meaning(key) not in places]
            if unknown:
                raise CannotAct(f"this keyboard has no key {unknown[0]!r}")
            struck = [places[meaning(key)] for key in keys]
            shifted = "Shift" not in keys and any(shift for _, shift in struck)
            shift = [self._code(NAMED["Shift"])] if shifted else []
            held = [*[code for key, (code, _) in zip(keys, struck, strict=True) if key in NAMED], *shift]
            held += [code for code, _ in struck if code not in held]
            with self._down(held):
                pass

    def _strike(self, code: int, shift: bool) -> None:
        with self._down([self._code(NAMED["Shift"]), code] if shift else [code]):
            pass

    @contextlib.contextmanager
    def _down(self, codes: list[int]) -> Iterator[None]:
        pressed = []
        try:
            for code in codes:
                self._shown.key(code, down=True)
                pressed.append(code)
            yield
        finally:
            for code in reversed(pressed):
                self._shown.key(code, down=False)

    def _own(self) -> dict[int, tuple[int, bool]]:
        """What the layout has: the key of each meaning, and whether it needs Shift."""
        if self._shown.root.query_pointer().mask & _GROUP_BITS:
            first = {number: (self._code(number), False) for number in (*NAMED.values(), *CONTROLS.values())}
            return {number: place for number, place in first.items() if place[0] and number > 0xFF}
        found: dict[int, tuple[int, bool]] = {}
        for level in (0, 1):
            for code, means in self._table():
                if len(means) > level and means[level]:
                    found.setdefault(means[level], (code, level == 1))
        return found

    def _spare(self) -> list[int]:
        return [code for code, means in self._table() if not any(means)]

    def _table(self) -> list[tuple[int, list[int]]]:
        first, last = self._shown.x.display.info.min_keycode, self._shown.x.display.info.max_keycode
        return list(
            zip(range(first, last + 1), self._shown.x.get_keyboard_mapping(first, last - first + 1), strict=False)
        )

    @contextlib.contextmanager
    def _lent(self, meanings: dict[int, int]) -> Iterator[dict[int, tuple[int, bool]]]:
        """Keys that mean this, in every state of the keyboard, until all that was struck has been taken."""
        before = {code: means for code, means in self._table() if code in meanings}
        try:
            for code, number in meanings.items():
                self._shown.x.change_keyboard_mapping(code, [[number] * len(before[code])])
            self._shown.x.sync()
            if meanings:
                # The window has heard of it as well: else it may read the first key by the old table.
                self._shown.wait_until_taken()
            yield {number: (code, False) for code, number in meanings.items()}
        finally:
            if meanings:
                self._shown.wait_until_taken()
            for code, means in before.items():
                self._shown.x.change_keyboard_mapping(code, [means])
            self._shown.x.sync()

    @contextlib.contextmanager
    def _without_caps_lock(self) -> Iterator[None]:
        locked = bool(self._shown.root.query_pointer().mask & X.LockMask)
        if locked:
            self._strike(self._code(_CAPS_LOCK), shift=False)
        try:
            yield
        finally:
            if locked:
                self._strike(self._code(_CAPS_LOCK), shift=False)

    def _code(self, number: int) -> int:
        return int(self._shown.x.keysym_to_keycode(number))


def _parts(text: str, missing: frozenset[str], spare: int) -> Iterator[str]:
    """The text in pieces that need no more keys than can be lent at once."""
    start, needed = 0, set[str]()
    for place, character in enumerate(text):
        if character in missing and character not in needed and len(needed) == spare:
            yield text[start:place]
            start, needed = place, set()
        if character in missing:
            needed.add(character)
    yield text[start:]
