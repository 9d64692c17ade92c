"""The shared parts against their definitions, written out slowly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from openglm.errors import Refused
from openglm.parts.attention import GroupedQueryAttention, attend, causal_mask, split_heads
from openglm.parts.cache import Cache, CacheShape
from openglm.parts.experts import Experts, MixtureOfExperts, SigmoidRouter
from openglm.parts.feed_forward import FusedGatedFeedForward, GatedFeedForward
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Pairing, Rotation


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def test_a_norm_divides_by_the_root_of_the_mean_square() -> None:
    norm = RMSNorm(8, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 8)
    slow = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), slow)


def test_the_gradient_of_a_norm_is_the_one_that_is_written_out() -> None:
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(8, 1e-5).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(8))
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(norm, {"weight": w}, (x,)), (norm.weight,))


def test_a_norm_of_bf16_sums_in_fp32_and_answers_in_bf16() -> None:
    x = torch.full((1, 4096), 0.1, dtype=torch.bfloat16)
    out = RMSNorm(4096, eps=0.0).to(torch.bfloat16)(x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, torch.ones_like(out))


def test_a_norm_kept_in_fp32_serves_states_in_bf16() -> None:
    norm, x = RMSNorm(64, eps=1e-5), torch.randn(3, 64).to(torch.bfloat16)
    torch.testing.assert_close(norm(x), norm(x.float()).to(torch.bfloat16))


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
def test_a_rotation_turns_each_pair_as_a_complex_number(pairing: Pairing) -> None:
    x = torch.randn(1, 2, 5, 12)
    turned = Rotation(width=8, theta=100.0, pairing=pairing).angles(torch.arange(5)[None]).rotate(x)
    for position in range(5):
        for pair in range(4):
            first, second = (2 * pair, 2 * pair + 1) if pairing == "interleaved" else (pair, pair + 4)
            turn = torch.polar(torch.tensor(1.0), torch.tensor(position / 100.0 ** (2 * pair / 8)))
            expected = torch.complex(x[0, :, position, first], x[0, :, position, second]) * turn
            torch.testing.assert_close(turned[0, :, position, first], expected.real)
            torch.testing.assert_close(turned[0, :, position, second], expected.imag)
    assert torch.equal(turned[..., 8:], x[..., 8:])


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
def test_turned_queries_and_keys_only_know_how_far_apart_they_are(pairing: Pairing) -> None:
    q, k = torch.randn(1, 1, 1, 8, dtype=torch.float64), torch.randn(1, 1, 1, 8, dtype=torch.float64)
    rotation = Rotation(width=8, theta=50.0, pairing=pairing)

    def product(at: int, other: int) -> Tensor:
        here, there = (rotation.angles(torch.tensor([[p]])) for p in (at, other))
        return (here.rotate(q) * there.rotate(k)).sum()

    torch.testing.assert_close(product(3, 1), product(40, 38), rtol=1e-5, atol=1e-5)
    assert not torch.isclose(product(3, 1), product(3, 2), rtol=1e-3)


def slow_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, 1).transpose(2, 3) / q.shape[-1] ** 0.5
    out = scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v.repeat_interleave(group, 1)
    return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(("new", "seen"), [(5, 5), (1, 5), (3, 5), (1, 1)])
def test_without_a_mask_each_token_sees_itself_and_all_before_it(new: int, seen: int) -> None:
    q, k, v = torch.randn(2, 4, new, 8), torch.randn(2, 2, seen, 8), torch.randn(2, 2, seen, 6)
    visible = torch.tensor([[s <= t + seen - new for s in range(seen)] for t in range(new)])
    assert torch.equal(causal_mask(new, seen - new), visible)
    torch.testing.assert_close(attend(q, k, v), slow_attention(q, k, v, visible))


def test_a_mask_says_it_all_as_truth_or_as_numbers() -> None:
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    prefix = causal_mask(5, 0)
    prefix[:, :3] = True  # a bidirectional prefix of three
    expected = slow_attention(q, k, v, prefix)
    torch.testing.assert_close(attend(q, k, v, prefix), expected)
    torch.testing.assert_close(attend(q, k, v, torch.zeros(5, 5).masked_fill(~prefix, float("-inf"))), expected)


@pytest.mark.parametrize(("new", "past", "masked"), [(7, 0, False), (3, 5, False), (6, 0, True)])
def test_in_bf16_it_says_the_same_in_fewer_digits(new: int, past: int, masked: bool) -> None:
    q = torch.randn(2, 4, new, 8).bfloat16()
    k, v = (torch.randn(2, 2, past + new, 8).bfloat16() for _ in range(2))
    prefix = (causal_mask(new, past) | (torch.arange(past + new) < 4))[None, None] if masked else None
    exact = attend(q.float(), k.float(), v.float(), prefix)
    torch.testing.assert_close(attend(q, k, v, prefix).float(), exact, atol=0.03, rtol=0.03)


def test_attention_with_a_cache_answers_as_without() -> None:
    layer = GroupedQueryAttention(16, heads=4, kv_heads=2, head_dim=8, qkv_bias=True, qk_norm_eps=1e-5)
    rotation = Rotation(width=4, theta=100.0, pairing="halves")
    x, positions = torch.randn(2, 7, 16), torch.arange(7)[None]
    whole = layer(x, rotation.angles(positions))
    cache = Cache([CacheShape(heads=2, key=8, value=8)], batch=2, capacity=7, dtype=torch.float32)
    parts = [layer(x[:, a:b], rotation.angles(positions[:, a:b]), cache=cache.layers[0]) for a, b in ((0, 3), (3, 7))]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_a_full_cache_says_how_large_it_is_and_a_rewound_one_has_room_again() -> None:
    cache = Cache([CacheShape(heads=1, key=2, value=3)], batch=1, capacity=4, dtype=torch.float32)
    cache.layers[0].append(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 3))
    with pytest.raises(Refused, match="holds 4 tokens, and 5 are asked"):
        cache.layers[0].append(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 3))
    cache.rewind(1)
    assert cache.length == 1
    keys, values = cache.layers[0].append(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    assert keys[0, 0, :, 0].tolist() == [1, 0, 0]
    assert values.shape == (1, 1, 3, 3)


def test_one_matrix_for_gate_and_up_is_the_two_side_by_side() -> None:
    apart, fused = GatedFeedForward(6, 10), FusedGatedFeedForward(6, 10)
    with torch.no_grad():
        fused.gate_up_proj.weight.copy_(torch.cat((apart.gate_proj.weight, apart.up_proj.weight)))
        fused.down_proj.weight.copy_(apart.down_proj.weight)
    x = torch.randn(3, 6)
    torch.testing.assert_close(fused(x), apart(x))


def filled(layer: torch.nn.Module) -> torch.nn.Module:
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def test_experts_sorted_by_token_answer_as_each_token_by_itself() -> None:
    experts = filled(Experts(6, 10, experts=5))
    x, weights = torch.randn(9, 6), torch.rand(9, 2)
    chosen = torch.stack([torch.randperm(4)[:2] for _ in range(9)])  # nobody wants the fifth expert
    slow = torch.zeros(9, 6)
    for token in range(9):
        for slot in range(2):
            expert = int(chosen[token, slot])
            gate, up = (experts.gate_up_proj[expert] @ x[token]).chunk(2)
            slow[token] += weights[token, slot] * (experts.down_proj[expert] @ (functional.silu(gate) * up))
    torch.testing.assert_close(experts(x, chosen, weights), slow)
    experts(x, chosen, weights).sum().backward()
    assert experts.down_proj.grad is not None
    assert experts.down_proj.grad[4].abs().max() == 0


def test_the_bias_decides_who_is_chosen_and_never_how_much_it_counts() -> None:
    router = SigmoidRouter(4, 6, chosen=2, scale=2.5)
    torch.nn.init.normal_(router.weight)
    x = torch.randn(7, 4)
    router.e_score_correction_bias[[1, 3]] = 10.0
    experts, weights = router(x)
    assert sorted(experts[0].tolist()) == [1, 3]
    scores = (x @ router.weight.T).sigmoid().gather(1, experts)
    torch.testing.assert_close(weights, 2.5 * scores / scores.sum(-1, keepdim=True))


def test_who_is_chosen_does_not_depend_on_the_precision_of_the_rest() -> None:
    router = SigmoidRouter(64, 32, chosen=4, scale=1.0)
    torch.nn.init.normal_(router.weight)
    x = torch.randn(50, 64)
    experts, weights = router(x)
    with torch.autocast("cpu", torch.bfloat16):
        again, same = router(x)
    assert torch.equal(again, experts)
    assert torch.equal(same, weights)


def test_only_experts_of_the_best_groups_are_chosen() -> None:
    router = SigmoidRouter(1, 6, chosen=2, scale=1.0, groups=3, groups_chosen=1)
    with torch.no_grad():
        # The best single expert is in group 0; group 1 has the best two.
        router.weight[:] = torch.tensor([[3.0], [-3.0], [2.0], [2.0], [0.0], [0.0]])
    experts, _ = router(torch.ones(1, 1))
    assert sorted(experts[0].tolist()) == [2, 3]


def test_a_router_counts_while_it_trains_and_balancing_lifts_the_idle() -> None:
    router = SigmoidRouter(4, 4, chosen=1, scale=1.0)
    with torch.no_grad():
        router.weight[2] = 1.0  # for positive tokens always the third
    router.eval()(torch.ones(5, 4))
    assert router.load.sum() == 0
    router.train()(torch.ones(5, 4))
    assert router.load.tolist() == [0, 0, 5, 0]
    router.balance(router.load.clone(), rate=0.25)
    assert router.e_score_correction_bias.tolist() == [0.25, 0.25, -0.25, 0.25]
    assert router.load.sum() == 0


def test_a_balanced_router_spreads_tokens_that_all_wanted_the_same_experts() -> None:
    router = SigmoidRouter(8, 8, chosen=2, scale=1.0).train()
    torch.nn.init.normal_(router.weight, std=0.1)
    x = torch.randn(256, 8) + 1.0

    def unevenness() -> float:
        router.load.zero_()
        router(x)
        return float(router.load.max() / router.load.mean())

    before = unevenness()
    for _ in range(300):
        router(x)
        router.balance(router.load.clone(), rate=1e-2)
    assert before > 2.0
    assert unevenness() < 1.3


def test_the_shared_expert_sees_every_token() -> None:
    mixture = MixtureOfExperts(SigmoidRouter(6, 4, chosen=2, scale=1.0), Experts(6, 3, 4), GatedFeedForward(6, 3))
    filled(mixture)
    x = torch.randn(2, 5, 6)
    tokens = x.flatten(0, 1)
    alone = mixture.experts(tokens, *mixture.gate(tokens)).view(2, 5, 6)
    torch.testing.assert_close(mixture(x) - alone, mixture.shared_experts(x))


def test_heads_are_split_in_order() -> None:
    assert split_heads(torch.arange(6.0)[None, None], 2)[0, :, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
