"""A task on disk: ``events.jsonl``, an event a line, and each screenshot as a PNG beside it. Written as it happens, so
that a task that was killed has a trace up to there. Secrets are in no event: the model never had them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from openmaas.apps.agent.events import AnyEvent, Looked
from openmaas.core.errors import FieldInvalid

EVENTS = "events.jsonl"
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(AnyEvent)


class Recorder:
    """Writes one trace into an empty folder, which it makes. ``tell`` is what an agent is given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FieldInvalid(f"{folder} is not empty; a trace wants a folder of its own", field="trace")
        self._folder = folder
        self._events = (folder / EVENTS).open("ab", buffering=0)
        self._pictures = 0

    def tell(self, event: AnyEvent) -> None:
        """Keep it."""
        if isinstance(event, Looked) and event.picture:
            self._pictures += 1
            name = f"{self._pictures:04d}.png"
            (self._folder / name).write_bytes(event.picture)
            event = msgspec.structs.replace(event, picture=b"", file=name)
        self._events.write(_encoder.encode(event) + b"\n")

    def close(self) -> None:
        """No more events."""
        self._events.close()


def read_trace(folder: Path) -> Iterator[AnyEvent]:
    """The events, pictures in them as they were. Raises ``FieldInvalid`` for what is no trace; a torn last line is
    passed over."""
    try:
        lines = (folder / EVENTS).read_bytes().splitlines()
    except OSError as error:
        raise FieldInvalid(f"{folder} holds no trace ({error.strerror})", field="trace") from None
    for number, line in enumerate(lines, 1):
        try:
            event = _decoder.decode(line)
            if isinstance(event, Looked) and event.file:
                event = msgspec.structs.replace(event, picture=(folder / Path(event.file).name).read_bytes())
        except (msgspec.DecodeError, OSError) as error:
            if number == len(lines):
                return
            raise FieldInvalid(f"line {number} of {folder / EVENTS} is no event ({error})", field="trace") from None
        yield event
