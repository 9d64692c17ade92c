"""Android's numbers of keys (``android.view.KeyEvent``), by the names of ``KeyboardEvent.key``."""

from __future__ import annotations

import string

HOME, BACK, ENTER, DELETE_BACK = 3, 4, 66, 67

KEYCODES: dict[str, int] = {
    "Control": 113,
    "Shift": 59,
    "Alt": 57,
    "Meta": 117,
    "Enter": ENTER,
    "Tab": 61,
    "Escape": 111,
    "Backspace": DELETE_BACK,
    "Delete": 112,
    "Insert": 124,
    "ArrowUp": 19,
    "ArrowDown": 20,
    "ArrowLeft": 21,
    "ArrowRight": 22,
    "Home": 122,
    "End": 123,
    "PageUp": 92,
    "PageDown": 93,
    **{f"F{number}": 130 + number for number in range(1, 13)},
    **{letter: 29 + place for place, letter in enumerate(string.ascii_lowercase)},
    **{digit: 7 + place for place, digit in enumerate(string.digits)},
    **dict(zip(" ,.`-=[]\\;'/@+*#", (62, 55, 56, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 81, 17, 18), strict=True)),
}
