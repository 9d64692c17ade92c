"""A model that can be tuned, as far as the catalogue knows: for jobs that wait, and for what is refused before."""

from __future__ import annotations

from installation import Installation

NAME = "tunable"


def offer(house: Installation) -> str:
    """See that it is offered, with a price for training; its name."""
    folder = house.data.parent / f"{house.data.name}-checkpoint"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    body = {"name": NAME, "context_tokens": 1024, "checkpoint": str(folder)}
    if house.admin("POST", "/models", body)[0] == 201:
        price = {"model": NAME, "input": "1", "output": "1", "units": {"training": "8"}}
        assert house.admin("POST", "/prices", price)[0] == 201
    return NAME
