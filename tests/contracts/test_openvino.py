"""What the OpenVINO engine promises beside what every engine does (``test_engines.py``): which weights it takes, what
it lacks and says so, and that what it tells of its cache is so."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lone_engine import Lone
from openmaas.core.errors import FieldInvalid
from openmaas.engines.openvino.folder import check_weights
from openmaas.engines.openvino.prefixes import BLOCK_TOKENS, Prefixes
from openmaas.engines.spec import lacking
from openmaas.engines.weights import locate

installed = pytest.mark.skipif(
    find_spec("openvino_genai") is None, reason="OpenVINO is not installed; run `make setup-openvino`"
)
HELLO = [{"role": "user", "content": "Name a colour."}]
Q5_0 = 6


@pytest.fixture(scope="module")
def weights(smol_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file that nobody has converted yet."""
    return Path(shutil.copy(smol_gguf, tmp_path_factory.mktemp("weights") / "smol.gguf"))


@pytest.fixture(scope="module")
def engine(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    with Lone(tmp_path_factory.mktemp("ov"), weights, kind="openvino", slots=2, context=2048) as engine:
        yield engine


# ── without OpenVINO ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_tensors_that_it_does_not_read_is_refused_by_their_type(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    name = b"blk.0.ffn_up.weight"
    tensor = struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 32, Q5_0, 0)
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + tensor)
    with pytest.raises(FieldInvalid, match=r"blk\.0\.ffn_up\.weight is Q5_0, .* deploy this one with kind llama"):
        check_weights(path)


def test_a_folder_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.xml").touch()
    with pytest.raises(FieldInvalid, match=r"has no openvino_model\.bin"):
        locate(str(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("members", "lacked"),
    [
        ({"top_logprobs": 2, "logprobs": True}, "top_logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"logprobs": 3}, "logprobs"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": True, "top_logprobs": 0, "logit_bias": {}, "suffix": None, "echo": False}, ""),
        ({"logprobs": 0}, ""),
    ],
)
def test_what_it_lacks_is_found_in_a_request_that_uses_it(members: dict[str, Any], lacked: str) -> None:
    assert lacking("openvino", members) == lacked
    assert lacking("llama", members) == ""


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.lists(st.integers(0, 3), max_size=200))
def test_of_a_prompt_no_more_is_told_to_be_cached_than_was_computed_before(first: list[int], second: list[int]) -> None:
    prefixes = Prefixes(1_000)
    assert prefixes.cached(first) == 0
    prefixes.computed(first)
    prompt = first + second
    found = prefixes.cached(prompt)
    assert found <= min(len(first) - 1, len(prompt) - 1)
    assert found >= (len(first) - 1) // BLOCK_TOKENS * BLOCK_TOKENS - 1


def test_the_blocks_that_were_used_longest_ago_are_forgotten() -> None:
    prefixes = Prefixes(6)
    old, new = list(range(70)), list(range(100, 170))
    for _ in range(2):
        prefixes.computed(old)
    prefixes.computed(new)
    assert prefixes.cached(old) == prefixes.cached(new) == 2 * BLOCK_TOKENS
    prefixes.computed(list(range(200, 330)))
    assert prefixes.cached(old) == 0


# ── with it ───────────────────────────────────────────────────────────────────────────────────────────────────────


@installed
def test_a_gguf_file_is_converted_once(engine: Lone, weights: Path, tmp_path: Path) -> None:
    folder = weights.with_name("smol.gguf.openvino")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(path.name for path in weights.parent.iterdir()) == ["smol.gguf", folder.name]
    greedy = {"messages": HELLO, "max_tokens": 6, "temperature": 0}
    for again in (weights, folder):  # the folder is weights as well
        with Lone(tmp_path, again, kind="openvino", slots=2, context=2048) as other:
            assert other.chat(**greedy)["choices"] == engine.chat(**greedy)["choices"]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@installed
@pytest.mark.parametrize(("field", "value"), [("top_logprobs", 2), ("logit_bias", {"5": 1})])
def test_what_it_lacks_is_refused_by_name(engine: Lone, field: str, value: Any) -> None:
    status, told = engine.post("/v1/chat/completions", messages=HELLO, logprobs=True, **{field: value})
    assert (status, told["error"]["param"]) == (400, field)
    assert "llama" in told["error"]["message"]


@installed
def test_a_schema_that_cannot_be_kept_is_refused_and_nobody_else_is_hurt(engine: Lone) -> None:
    for _ in range(2):
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "alien"}}}
        status, told = engine.post("/v1/chat/completions", messages=HELLO, response_format=schema)
        assert (status, told["error"]["param"]) == (400, "response_format")
        assert told["error"]["message"].endswith('Unsupported type "alien".')
    assert engine.meter()[-1].prompt_tokens == 0
    assert engine.chat(messages=HELLO, max_tokens=3)["usage"]["completion_tokens"] == 3


@installed
def test_a_list_of_prompts_has_n_answers_to_each_and_every_prompt_is_counted_once(engine: Lone) -> None:
    status, told = engine.post("/v1/completions", prompt=["One two", "The sky is"], n=3, max_tokens=4, ignore_eos=True)
    assert status == 200, told
    assert [choice["index"] for choice in told["choices"]] == list(range(6))
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (2 + 3, 6 * 4)


@installed
def test_what_is_told_to_be_cached_is_not_computed_again(weights: Path, engine: Lone) -> None:
    """A step computes 256 tokens of a prompt at most, so steps tell how much of it was."""
    assert engine  # it has converted the weights
    from openmaas.engines.openvino.convert import folder_of  # noqa: PLC0415 - an extra
    from openmaas.engines.openvino.pipeline import Pipeline  # noqa: PLC0415

    pipeline = Pipeline(folder_of(weights), slots=2, context=4096, threads=1)

    def steps(prompt: list[int]) -> int:
        request, count = pipeline.add(prompt, 1, "", {}), 1
        pipeline.step()
        while not pipeline.read(request).tokens:
            pipeline.step()
            count += 1
        pipeline.prefixes.computed(prompt)
        return count

    prompt = list(range(1_000, 3_000))
    assert (pipeline.prefixes.cached(prompt), steps(prompt)) == (0, 8)
    assert (pipeline.prefixes.cached(prompt), steps(prompt)) == (62 * BLOCK_TOKENS, 1)
    longer = [*prompt, *range(5_000, 5_300)]
    assert (pipeline.prefixes.cached(longer), steps(longer)) == (62 * BLOCK_TOKENS, 2)
    other = [7, *prompt]
    assert (pipeline.prefixes.cached(other), steps(other)) == (0, 8)
