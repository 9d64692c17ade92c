"""What is on the clipboard, as text, through ``xclip``: in X a program must stay to give it away.

What it held before comes back, if it was text; a picture or a file on it is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from openmaas.core.bounds import CLIPBOARD_S
from openmaas.core.errors import CannotAct


@contextlib.contextmanager
def holding(text: str, display: str) -> Iterator[None]:
    """The clipboard holds this for a while. Raises ``CannotAct`` without xclip."""
    if shutil.which("xclip") is None:
        raise CannotAct("this keyboard lacks a character, and without xclip it cannot be pasted")
    before = read(display)
    write(text, display)
    try:
        yield
    finally:
        write(before, display)


def read(display: str) -> str:
    """The text on it; empty if there is none."""
    return _xclip(["-o"], "", display)


def write(text: str, display: str) -> None:
    """Put it there. A program of xclip's stays until somebody else has something for the clipboard."""
    _xclip(["-i"], text, display)


def _xclip(options: list[str], text: str, display: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    # The output goes nowhere when there is none to read: what stays would hold it open.
    out = subprocess.PIPE if options == ["-o"] else subprocess.DEVNULL
    try:
        done = subprocess.run(
            ["xclip", "-selection", "clipboard", *options],
            input=text.encode(),
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=CLIPBOARD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotAct("the program that has the clipboard does not give it away") from error
    return (done.stdout or b"").decode(errors="replace")
