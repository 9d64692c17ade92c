"""Whether an agent goes in circles: the same action on the same screen, again and again, which is what users of every
peer report first (Open-AutoGLM #61, #67, #333; UI-TARS #131)."""

from __future__ import annotations

from collections import Counter, deque
from hashlib import blake2b

import msgspec

from openmaas.apps.drivers.driver import Screen
from openmaas.core.bounds import CIRCLES_END, CIRCLES_TOLD, CIRCLES_WINDOW


class Circles:
    """The last ``CIRCLES_WINDOW`` actions, each with the screen it was done on."""

    def __init__(self) -> None:
        self._last: deque[bytes] = deque(maxlen=CIRCLES_WINDOW)

    def saw(self, screen: Screen, action: msgspec.Struct) -> int:
        """How often this was done on this screen lately, this time included."""
        shown = (screen.app, [(each.role, each.text, each.value, each.checked) for each in screen.elements])
        if not screen.elements:
            shown = (screen.app, [("picture", blake2b(screen.png).hexdigest(), "", None)])
        step = blake2b(msgspec.msgpack.encode((shown, action)), digest_size=16).digest()
        self._last.append(step)
        return Counter(self._last)[step]


def nudge(times: int) -> str:
    """What the model is told of it; empty when it is early yet."""
    if times < CIRCLES_TOLD:
        return ""
    return (
        f"You have done exactly this {times} times on this screen. Do something else: go back, scroll, another way, or "
        f"finish with succeeded false. After {CIRCLES_END} times the task has failed."
    )
