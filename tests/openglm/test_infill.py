"""Filling blanks: with a cache as without, in any order, side by side as alone; and a model that learned a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from openglm.data import blanks, parts_ab
from openglm.data.batches import stacked
from openglm.data.blanks import Blanks, Plan
from openglm.data.parts_ab import Layout
from openglm.data.specials import Specials
from openglm.errors import Refused
from openglm.models.classic import Classic
from openglm.models.glm import Glm, GlmConfig
from openglm.models.infill import Marks, filling, greedy, infill, sampled
from openglm.parts.masks import prefix_mask
from openglm.train.loss import loss_of
from small_classics import CHATGLM_6B, CONFIGS, GLM, GLM_130B, KINDS, built, each

MASK, GMASK, SOP, EOP, EOS = 1, 2, 4, 5, 6
MARKS = Marks(blanks=frozenset({MASK, GMASK}), gmask=GMASK, sop=SOP, stops=frozenset({EOP, EOS}))
SPECIALS = Specials(mask=MASK, gmask=GMASK, smask=3, sop=SOP, eop=EOP, eos=EOS, pad=0)
PROMPT = [11, MASK, 13, 14, MASK, 16, MASK]


def chosen_at_once(model: Classic, prompt: list[int], spans: list[list[int]], order: list[int]) -> list[list[int]]:
    """What the model would choose at each input of part B, all computed in one go without a cache."""
    places = [i for i, token in enumerate(prompt) if token in MARKS.blanks]
    tokens, first, second = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    for number in order:
        inputs = [SOP, *spans[number]]
        steps = list(range(1, len(inputs) + 1))
        moved = model.COUNTS_ON and prompt[places[number]] == GMASK
        tokens += inputs
        first += [places[number] + step * moved for step in steps]
        second += steps
    mask = prefix_mask(torch.tensor([len(prompt)]), len(tokens))
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), torch.tensor([[first, second]]), mask)[0]
    logits[:, [MASK, GMASK, SOP]] = float("-inf")
    found: list[list[int]] = [[] for _ in spans]
    at = len(prompt)
    for number in order:
        found[number] = logits[at : at + len(spans[number]) + 1].argmax(-1).tolist()
        at += len(spans[number]) + 1
    return found


@each
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_filling_from_a_cache_chooses_what_computing_everything_anew_chooses(config: Any, order: list[int]) -> None:
    model = built(config)
    prompt = [*PROMPT[:-1], GMASK]
    spans = infill(model, [prompt], MARKS, span_max=6, orders=[order])[0]
    for span, chosen in zip(spans, chosen_at_once(model, prompt, spans, order), strict=True):
        assert chosen[: len(span)] == span
        assert len(span) == 6 or chosen[-1] in MARKS.stops


@pytest.mark.parametrize("config", [GLM, CHATGLM_6B, GLM_130B], ids=["glm", "chatglm-6b", "glm-130b"])
def test_prompts_side_by_side_are_filled_as_each_would_be_alone(config: Any) -> None:
    model = built(config)
    prompts = [PROMPT, [MASK, 12], [21, 22, 23, GMASK, 25], [7, MASK]]
    together = infill(model, prompts, MARKS, span_max=5)
    assert together == [infill(model, [prompt], MARKS, span_max=5)[0] for prompt in prompts]
    assert [len(spans) for spans in together] == [3, 1, 1, 1]


def test_a_causal_prefix_is_read_from_left_to_right() -> None:
    model = built(GLM)
    seen = []

    def noted(*arguments: Any) -> Any:
        seen.append(arguments[2])
        return Glm.hidden(model, *arguments)

    model.hidden = noted  # type: ignore[method-assign]
    infill(model, [PROMPT], MARKS, span_max=2, bidirectional=False)
    assert torch.equal(seen[0][0, 0], torch.ones(7, 7).tril().bool())


def test_tokens_come_as_they_are_chosen_and_stopping_is_possible() -> None:
    model = built(GLM)
    events = filling(model, [PROMPT, PROMPT], MARKS, span_max=4, orders=[[1, 0, 2], [0, 1, 2]])
    first = [next(events), next(events)]
    assert [(row, blank) for row, blank, _ in first] == [(0, 1), (1, 0)]
    events.close()
    assert all(token not in {MASK, GMASK, SOP} for *_, token in filling(model, [PROMPT], MARKS, span_max=4))


def test_sampling_follows_its_seed_and_keeps_to_the_likeliest() -> None:
    logits = torch.tensor([[2.0, 1.9, 1.8, -3.0]]).expand(500, 4)
    drawn = sampled(1.0, 0.6, torch.Generator().manual_seed(1))(logits)
    assert set(drawn.tolist()) == {0, 1}
    assert torch.equal(drawn, sampled(1.0, 0.6, torch.Generator().manual_seed(1))(logits))
    hot = sampled(5.0, 1.0, torch.Generator().manual_seed(1))(logits)
    assert set(hot.tolist()) == {0, 1, 2, 3}
    cold = sampled(0.01, 1.0, torch.Generator().manual_seed(1))(logits)
    assert torch.equal(cold, greedy(logits))
    with pytest.raises(Refused, match="temperature=0"):
        sampled(0, 1.0, torch.Generator())


def test_what_cannot_be_filled_is_refused() -> None:
    model = built(GLM)
    with pytest.raises(Refused, match="nothing is missing"):
        infill(model, [[11, 12]], MARKS, span_max=3)
    with pytest.raises(Refused, match=r"order: \[0, 0, 1\]"):
        infill(model, [PROMPT], MARKS, span_max=3, orders=[[0, 0, 1]])
    with pytest.raises(Refused, match="This model has 21 positions"):
        infill(model, [PROMPT * 4], MARKS, span_max=3)
    with pytest.raises(Refused, match="spans of 20"):
        infill(model, [PROMPT], MARKS, span_max=20)


def test_positions_count_on_after_gmask_in_data_as_in_filling() -> None:
    text = np.arange(11, 19)
    layout = Layout(counts_on=True)
    rest = parts_ab.continued(text, 3, GMASK, layout, SPECIALS)
    assert rest.positions[0].tolist() == list(range(9))
    inner = parts_ab.infilled(text, [(3, 6)], GMASK, "document", layout, SPECIALS, np.random.default_rng(0))
    assert inner.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7]


@pytest.mark.parametrize("kind", ["glm", "chatglm-6b", "glm-130b"])
def test_a_model_that_has_learned_one_batch_fills_its_blanks_in_the_order_in_which_they_were_told(kind: str) -> None:
    rng = np.random.default_rng(0)
    model = KINDS[type(CONFIGS[kind])](CONFIGS[kind])
    model.initialise(torch.Generator().manual_seed(0))
    config = Blanks(task_mask=True, bert_ratio=0.3, layout=Layout(length_max=20, counts_on=model.COUNTS_ON))
    texts = [np.append(rng.integers(10, 50, 14), EOS) for _ in range(6)]
    plans = [Plan("token")] * 4 + [Plan("document", generated=9)] * 2
    rows = [
        blanks.row(text, plan, config, SPECIALS, np.zeros(50, bool), rng)
        for text, plan in zip(texts, plans, strict=True)
    ]
    batch = stacked(rows, 0)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(120):
        logits = model(batch.tokens, batch.positions, batch.mask())
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
        ((loss * batch.weights.flatten()).sum() / batch.weights.sum()).backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    for row in rows:
        prompt, told = row.tokens[: row.context].tolist(), row.targets[row.context :].tolist()
        starts = np.flatnonzero(row.tokens == SOP)
        # a blank's place: the first position of its <sop>, less the step that GLM-130B adds to it
        moved = model.COUNTS_ON and row.task == "document"
        places = [int(row.positions[0, at]) - moved for at in starts]
        order = [sorted(places).index(place) for place in places]
        ends = [i for i, token in enumerate(told) if token in MARKS.stops]
        expected = [told[start:end] for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
        spans = infill(model, [prompt], MARKS, span_max=18, orders=[order])[0]
        assert [spans[number] for number in order] == expected


def test_the_trainer_s_loss_of_a_classic_model_is_that_of_part_b() -> None:
    model, rng = built(GLM), np.random.default_rng(0)
    row = blanks.row(
        np.append(rng.integers(10, 50, 14), EOS), Plan("token"), Blanks(), SPECIALS, np.zeros(50, bool), rng
    )
    loss = loss_of(model, stacked([row, row], 0))
    with torch.no_grad():
        logits = model(
            torch.tensor(row.tokens[None]),
            torch.tensor(row.positions[None]),
            prefix_mask(torch.tensor([row.separator]), len(row.tokens)),
        )[0]
    said = logits[row.context :].log_softmax(-1).gather(-1, torch.tensor(row.targets[row.context :, None]))
    assert loss.total.item() == pytest.approx(-2 * said.sum().item(), rel=1e-5)


def test_sizes_of_a_small_glm_are_what_its_fields_say() -> None:
    model = Glm(GlmConfig(num_layers=1, hidden_size=8, num_attention_heads=2, vocab_size=10, max_sequence_length=4))
    assert model.places == 5
    assert model.word_embeddings.weight.shape == (10, 8)


@pytest.mark.parametrize("two_d", [True, False])
def test_a_blank_of_known_length_is_filled_to_it_and_chosen_as_computing_everything_anew_chooses(two_d: bool) -> None:
    model = built(GLM)
    lengths = [2, 1, 4]
    (spans,) = infill(model, [PROMPT], MARKS, span_max=4, lengths=[lengths], two_d=two_d)
    assert [len(span) for span in spans] == lengths
    layout = Layout(length_max=20, shuffle=False, two_d=two_d)
    text = np.array([11, *spans[0], 13, 14, *spans[1], 16, *spans[2]])
    row = parts_ab.infilled(text, [(1, 3), (5, 6), (7, 11)], MASK, "token", layout, SPECIALS, np.random.default_rng(0))
    batch = stacked([row], pad=0)
    with torch.no_grad():
        logits = model(batch.tokens, batch.positions, batch.mask())[0]
    logits[:, [MASK, GMASK, SOP, EOP, EOS]] = float("-inf")
    wanted = row.targets[7:]
    assert (logits[7:].argmax(-1).numpy() == wanted)[wanted != EOP].all()


def test_a_length_that_is_out_of_range_is_refused() -> None:
    with pytest.raises(Refused, match="lengths"):
        infill(built(GLM), [PROMPT], MARKS, span_max=4, lengths=[[1, 5, 1]])
