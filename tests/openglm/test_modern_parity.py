"""The modern GLMs against transformers' classes of them: tiny, random, odd ones included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="make setup-oracle")

from torch import Tensor

from glm_models import decoded, far, some_tokens
from glm_oracle import CASES, again, loss, oracle, published
from openglm.checkpoint.folder import load, save


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(2)


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    theirs = oracle(case)
    ours = load(published(theirs, tmp_path / "theirs"))
    tokens = some_tokens()
    expected, got = theirs(tokens).logits, ours(tokens)
    assert float(expected.std().detach()) > 0.1, "logits must say something"
    assert far(got, expected) < 1e-5

    loss(expected, tokens).backward()
    loss(got, tokens).backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert far(parameter.grad, gradients.pop(name)) < 1e-4, name
    assert not gradients


@pytest.mark.parametrize("case", CASES)
def test_transformers_reads_what_we_wrote_and_agrees(case: str, tmp_path: Path) -> None:
    theirs = oracle(case)
    save(load(published(theirs, tmp_path / "theirs")), tmp_path / "ours", shard_bytes_max=40_000)
    assert (tmp_path / "ours" / "model.safetensors.index.json").exists()
    tokens = some_tokens()
    with torch.no_grad():
        assert far(again(theirs, tmp_path / "ours")(tokens).logits, theirs(tokens).logits) < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_decoding_with_a_cache_answers_as_computing_all_at_once(case: str, tmp_path: Path) -> None:
    ours = load(published(oracle(case), tmp_path / "theirs"))
    tokens = some_tokens(length=9)
    with torch.no_grad():
        whole = ours(tokens)
        assert far(decoded(ours, tokens, cuts=list(range(1, 9))), whole) < 1e-5, "token by token"
        assert far(decoded(ours, tokens, cuts=[4, 5, 7]), whole) < 1e-5, "in chunks"


@pytest.mark.parametrize("case", CASES)
def test_in_bf16_a_token_is_as_near_to_fp32_as_in_transformers(case: str, tmp_path: Path) -> None:
    theirs = oracle(case)
    save(load(published(theirs, tmp_path / "theirs")), tmp_path / "half", dtype=torch.bfloat16)
    tokens = some_tokens(rows=4, length=32)
    with torch.no_grad():
        exact = load(tmp_path / "half", dtype=torch.float32)(tokens)

        def usual_error(logits: Tensor) -> float:
            # The median token: where two experts are nearly as good, rounding picks another one, on either side.
            return float((logits.float() - exact).pow(2).mean(-1).median())

        ours = usual_error(load(tmp_path / "half")(tokens))
        assert ours < 1.5 * usual_error(again(theirs, tmp_path / "half", dtype=torch.bfloat16)(tokens).logits)


@pytest.mark.parametrize("case", ["GLM-4", "GLM-4.7-Flash"])
def test_padding_on_the_left_changes_nothing_when_mask_and_positions_say_so(case: str, tmp_path: Path) -> None:
    ours = load(published(oracle(case), tmp_path / "theirs"))
    tokens = some_tokens(rows=1, length=6)
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), tokens), dim=1)
    positions = (torch.arange(9) - 3).clamp(min=0)[None]
    seen = torch.ones(9, 9, dtype=torch.bool).tril()
    seen[3:, :3] = False
    with torch.no_grad():
        assert far(ours(padded, positions, seen)[:, 3:], ours(tokens)) < 1e-5


def test_a_bidirectional_prefix_is_only_another_mask(tmp_path: Path) -> None:
    ours = load(published(oracle("GLM-4"), tmp_path / "theirs"))
    tokens = some_tokens(rows=1, length=6)
    prefix = torch.ones(6, 6, dtype=torch.bool).tril()
    prefix[:, :4] = True
    changed = tokens.clone()
    changed[0, 3] = changed[0, 3] % 90 + 1
    with torch.no_grad():
        assert far(ours(tokens)[:, 0], ours(changed)[:, 0]) == 0.0
        assert far(ours(tokens, mask=prefix)[:, 0], ours(changed, mask=prefix)[:, 0]) > 1e-3
