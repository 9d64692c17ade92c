"""``python -m openglm.tune count|run ORDER``: a tuning as a process of its own.

``count`` reads the files and says in ``counted.json`` how many tokens it will be; ``run`` does it. ``ORDER`` is a JSON
file (``tune/order.py``), or ``-``: then one line of standard input. A second line lets ``run`` go on after it has
counted, and when the input ends, so does this: who gave the order is gone, or does not want it at this price.

Exit status 0: done. 2: it cannot be done, and ``failed.json`` says which member is wrong and why. Anything else: it was
cut off, and the same order given again goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TextIO

import torch

from openglm.errors import Refused
from openglm.tune.launch.run import CutOff
from openglm.tune.order import Order
from openglm.tune.tuning import Failed, Tuning

NICE = 10  # whoever waits for an answer on the same cores goes first
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
    if order.threads:
        torch.set_num_threads(order.threads)
    order.into.mkdir(parents=True, exist_ok=True)
    with (order.into / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # one that is being killed may still be writing
        os.set_inheritable(held.fileno(), True)  # … and so may a trainer that it launched
        return _done(what, order, sys.stdin if where == "-" else None)


def _done(what: str, order: Order, parent: TextIO | None) -> int:
    failed = order.into / "failed.json"
    failed.unlink(missing_ok=True)
    try:
        tuning = Tuning(order)
        if what == "run":
            if parent is not None:
                if not parent.readline():
                    return 1
                os.nice(NICE)
                threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
            tuning.walk()
    except (Failed, Refused) as error:
        told = {"field": getattr(error, "field", "hyperparameters"), "message": str(error)}
        failed.write_text(json.dumps(told) + "\n")
        print(error, file=sys.stderr)
        return 2
    except CutOff as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _leave_with(parent: TextIO) -> None:
    parent.read()
    # Nothing is half written under its name (tuning.py); a trainer that was launched is ended first (launch/run.py).
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
