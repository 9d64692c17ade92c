"""The ablation asks every arm the same, takes each run once, and writes its own table."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from openglm.data import shards
from openglm.data.prepare import Prepared, opened
from openglm.data.tokenizer import train_characters
from openglm.errors import Refused
from openglm.evaluate.infilling import questions

ROOT = Path(__file__).parents[2]
LETTERS = "春眠不觉晓处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望低思故乡"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import ablations  # noqa: PLC0415 - recipes are no package: they are found where this fixture says

    return ablations


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Verses of four lines from three dozen characters."""
    folder, rng = tmp_path_factory.mktemp("poems"), np.random.default_rng(0)
    lines = [["".join(rng.choice(list(LETTERS), 5)) for _ in range(4)] for _ in range(160)]
    poems = ["，".join(poem) + "。" for poem in lines]
    tokenizer = train_characters(poems, 256 + 38 + len(set("".join(poems))))
    tokenizer.save(folder / "tokenizer.json")
    for part in ("train", "held-out"):
        shards.write(
            folder / part,
            poems,
            tokenizer.encode_batch,
            vocabulary=len(tokenizer),
            eos=tokenizer.specials.eos,
            source="verses",
        )
    return opened(folder)


@pytest.mark.timeout(600)  # six runs, each of which first asks how fast the machine is
def test_each_run_is_taken_once_and_the_table_and_drawings_have_every_arm(
    recipe: ModuleType, data: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two layers: with one, part B sees only the embeddings of part A, and how A sees itself is all the same.
    asked = {"depth": 2, "steps": 2, "seeds": [1], "texts": 4}
    rows = recipe.ablations(data, tmp_path, **asked)
    assert [row["arm"] for row in rows] == list(recipe.ARMS)
    for row in rows:
        wanted = {"nats", "exact", "characters_right"} if row["arm"] == "bert" else set(recipe.FIGURES)
        assert set(row["figures"]) == wanted
        assert all(math.isfinite(value) for value in row["figures"].values())
        assert 0 < row["figures"]["nats"] < 1.5 * math.log(len(data.tokenizer))
        assert row["from_step"] == 0
    assert len({row["figures"]["nats"] for row in rows}) == len(rows)

    (tmp_path / "bert-1" / "row.json").unlink()
    capsys.readouterr()
    again = recipe.ablations(data, tmp_path, **asked)
    assert capsys.readouterr().err.count("· run") == 1
    assert [row["figures"] for row in again] == [row["figures"] for row in rows]
    assert [row["from_step"] for row in again] == [0, 0, 0, 2, 0]

    table = recipe.table(again).splitlines()
    assert len(table) == 2 + 5 + 4
    assert len({line.count("|") for line in table}) == 1
    assert f"| glm | 1 | {rows[0]['figures']['nats']:.4f} |" in table[2]
    recipe.drawn(again, tmp_path)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"loss.svg", *(f"{name}.svg" for name in recipe.FIGURES)}

    with pytest.raises(Refused, match="depth"):
        recipe.ablations(data, tmp_path, **{**asked, "depth": 1})


def test_the_table_says_how_far_an_arm_is_from_glm_seed_by_seed(recipe: ModuleType) -> None:
    found = {("glm", 1): 4.0, ("glm", 2): 5.0, ("bert", 1): 4.5, ("bert", 2): 5.5}
    rows = [{"arm": arm, "seed": seed, "figures": {"nats": nats}} for (arm, seed), nats in found.items()]
    glm, bert, apart = recipe.table(rows).splitlines()[2:]
    assert "| 4.5000 ± 0.7071 | – |" in glm
    assert "| 5.0000 ± 0.7071 |" in bert
    assert "| bert − glm | 2 | +0.5000 ± 0.0000 |" in apart


def test_every_arm_is_asked_for_the_same_characters(recipe: ModuleType, data: Prepared) -> None:
    asked = questions(data.held_out, data.tokenizer, count=8, tokens_max=96, ratio=0.15)
    specials = data.tokenizer.specials
    targets = {}
    for name, arm in recipe.ARMS.items():
        rows = [recipe.blanked(question, arm, data.tokenizer) for question in asked]
        targets[name] = [row.targets[(row.weights > 0) & (row.targets != specials.eop)].tolist() for row in rows]
    assert all(found == targets["glm"] for found in targets.values())
    assert [data.tokenizer.decode(row) for row in targets["glm"]] == ["".join(question.hidden) for question in asked]


def test_nats_are_those_of_characters_among_characters(recipe: ModuleType, data: Prepared) -> None:
    asked = questions(data.held_out, data.tokenizer, count=3, tokens_max=96, ratio=0.15)
    model = recipe.fresh(recipe.sizes(1), 1, len(data.tokenizer)).eval()
    rows = [recipe.blanked(question, recipe.ARMS["glm"], data.tokenizer) for question in asked]
    specials = data.tokenizer.specials
    marks = [specials.mask, specials.gmask, specials.smask, specials.sop, specials.eop, specials.eos]
    said = []
    for row in rows:
        batch = recipe.stacked([row], 0)
        with torch.no_grad():
            likely = model(batch.tokens, batch.positions, batch.mask())[0].double().softmax(-1)
        for at in np.flatnonzero(row.weights):
            if row.targets[at] != specials.eop:
                text = 1 - float(likely[at, marks].sum())
                said.append(-math.log(float(likely[at, row.targets[at]]) / text))
    assert recipe.nats(model, rows, specials) == pytest.approx(np.mean(said), rel=1e-5)


def test_bert_fills_each_span_in_its_place(recipe: ModuleType, data: Prepared) -> None:
    asked = questions(data.held_out, data.tokenizer, count=5, tokens_max=96, ratio=0.15)
    model = recipe.fresh(recipe.sizes(1), 1, len(data.tokenizer)).eval()
    bias = torch.zeros(len(data.tokenizer))
    bias[data.tokenizer.encode("月")[0]] = 1e4  # a model that always says the same
    model.logits = lambda hidden: hidden.new_zeros(*hidden.shape[:-1], len(bias)) + bias
    filled = recipe.filled_at_once(model, recipe.ARMS["bert"], data.tokenizer, asked)
    assert filled == [["月" * len(hidden) for hidden in question.hidden] for question in asked]
