"""From nothing to a bill: a toy GLM is trained, exported, served and asked, and the receipt is printed.

    make first-light                    # under ten minutes on two cores

Every step is the real one: the recipe of the small GLM (with two layers, on Python's library alone), the exporter, the
house with its relay and ledger, and the ``openai`` client. What the toy says is noise that looks like Python; what it
costs is exact.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from openai import OpenAI

from small_glm import small_glm

QUESTION = "def __init__(self, name, value):\n    self."


def serve(file: Path, data: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A house that offers the model; what it said when it was ready: its address and its first key."""
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--json", "--port", "0"]
    house = subprocess.Popen(
        [*command, "--data", str(data), "--model", str(file)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert house.stdout is not None
    return house, json.loads(house.stdout.readline())


def main() -> None:
    """Train, serve, ask, show the bill."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--into", type=Path, default=Path("data/first-light"))
    asked.add_argument("--steps", type=int, default=300)
    told = asked.parse_args()
    file = small_glm(told.into, depth=2, steps=told.steps, corpora=["python-library"], vocabulary=2048)

    house, ready = serve(file, told.into / "house")
    try:
        client = OpenAI(base_url=f"{ready['address']}/v1", api_key=ready["key"])
        (model,) = [found.id for found in client.models.list() if found.id.startswith("small-glm")]
        raw = client.completions.with_raw_response.create(model=model, prompt=QUESTION, max_tokens=48, temperature=0)
        answer = raw.parse()
        print(f"\n{QUESTION}\033[1m{answer.choices[0].text}\033[0m\n")
        receipt = client.get(f"/receipts/{raw.headers['x-request-id']}", cast_to=object)
        print(json.dumps(receipt, indent=2))
    finally:
        house.terminate()
        house.wait()


if __name__ == "__main__":
    main()
