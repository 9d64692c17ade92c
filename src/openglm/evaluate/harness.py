"""What lm_eval found, kept beside the checkpoint: ``python -m openglm.evaluate.harness FOLDER RESULTS``.

lm_eval asks a server as any client does, and writes a `results_….json` under its `--output_path`. Each task in it
becomes a row of `results.py`, under the task's name. Nothing of lm_eval is imported, and nothing is asked here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openglm.errors import Refused
from openglm.evaluate import results

NOT_ASKED = ("base_url", "tokenizer")  # where it ran says nothing of the figures
HINT = "Give the folder that lm_eval had as --output_path, or a results file in it."


def rows(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, what was asked, and figures of each task in a file of results."""
    model = {name: value for name, value in dict(told["config"]["model_args"]).items() if name not in NOT_ASKED}
    for task, found in told["results"].items():
        figures = {name.removesuffix(",none"): value for name, value in found.items() if isinstance(value, int | float)}
        counted = told["n-samples"][task]
        asked = {
            "model": model["model"],
            "task_version": told["versions"].get(task),
            "shots": told["n-shot"].get(task, 0),
            "questions": counted["effective"],
            "of": counted["original"],
            "lm_eval": told["lm_eval_version"],
        }
        yield task, asked, {name: value for name, value in figures.items() if name != "sample_len"}


def keep(folder: Path, place: Path) -> list[results.Result]:
    """Keep the newest results under `place`, a file or a folder.

    Raises:
        Refused: there are none, or they are not lm_eval's.
    """
    found = [place] if place.is_file() else sorted(place.rglob("results_*.json"), key=lambda path: path.name)
    if not found:
        raise Refused(f"{place}: no results of lm_eval are in it", hint=HINT)
    try:
        read = list(rows(json.loads(found[-1].read_text())))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{found[-1]}: it is no file of results ({error!r})", hint=HINT) from None
    return [results.keep(folder, *row) for row in read]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m openglm.evaluate.harness", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="of the checkpoint")
    parser.add_argument("results", type=Path, help="what lm_eval had as --output_path, or one of its files")
    told = parser.parse_args()
    try:
        print(results.table(keep(told.folder, told.results)))
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
