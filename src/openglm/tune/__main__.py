"""``python -m openglm.tune count|run ORDER``: a tuning as a process of its own.

``ORDER`` is a JSON file (``tune/order.py``), or ``-``: then one line of standard input, which stays open for as long as
the parent lives; when it ends, so does this. ``count`` reads the files and says in ``counted.json`` how many tokens it
will be; ``run`` does it. Exit status 0: done. 2: it cannot be done, and ``failed.json`` says which member is wrong and
why. Anything else: it was cut off, and the same order given again goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

import torch

from openglm.errors import Refused
from openglm.tune.order import Order
from openglm.tune.tuning import Failed, Tuning

USAGE = "usage: python -m openglm.tune count|run ORDER.json (or - for standard input)"


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    if len(arguments) != 2 or arguments[0] not in ("count", "run"):
        print(USAGE, file=sys.stderr)
        return 64
    what, where = arguments
    try:
        order = Order.read(sys.stdin.readline() if where == "-" else Path(where).read_text())
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 64
    if where == "-":
        threading.Thread(target=_leave_with, args=(sys.stdin,), daemon=True).start()
    if order.threads:
        torch.set_num_threads(order.threads)
    order.into.mkdir(parents=True, exist_ok=True)
    with (order.into / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # one that is being killed may still be writing
        return _done(what, order)


def _done(what: str, order: Order) -> int:
    failed = order.into / "failed.json"
    failed.unlink(missing_ok=True)
    try:
        tuning = Tuning(order)
        if what == "run":
            tuning.walk()
    except (Failed, Refused) as error:
        told = {"field": getattr(error, "field", "hyperparameters"), "message": str(error)}
        failed.write_text(json.dumps(told) + "\n")
        print(error, file=sys.stderr)
        return 2
    return 0


def _leave_with(parent: TextIO) -> None:
    parent.read()
    os._exit(1)  # nothing is half written under its name: see tuning.py


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
