"""lm_eval, unchanged, puts questions of its own to the real embedded model; `make setup-lm-eval` installs it.

To rank answers by their probability (``loglikelihood``) it wants the model's tokenizer beside it: one is made of the
model's file.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from openglm.evaluate import harness

ROOT = Path(__file__).parents[2]
LM_EVAL = ROOT / ".venv-lm-eval/bin/lm_eval"
QUESTIONS = [("The capital of France is", "Paris"), ("The capital of Italy is", "Rome")]
TASK = """
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 12, temperature: 0}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
RANKED = """
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: [Paris, Rome]
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
pytestmark = pytest.mark.skipif(not LM_EVAL.exists(), reason="lm_eval is not installed: make setup-lm-eval")


def evaluate(
    house: Installation,
    folder: Path,
    kind: str,
    path: str,
    *flags: str,
    task: str = TASK,
    tokenizer: str = "tokenizer_backend=none",
) -> tuple[list[dict[str, Any]], str]:
    """Let it ask; returns what it noted of each question, and what it wrote."""
    questions = folder / "capitals.jsonl"
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in QUESTIONS))
    (folder / "capitals.yaml").write_text(task.format(questions=questions))
    return ran(
        house, folder, kind, path, *flags, "--tasks", "capitals", "--include_path", str(folder), tokenizer=tokenizer
    )


def ran(
    house: Installation, folder: Path, kind: str, path: str, *flags: str, tokenizer: str
) -> tuple[list[dict[str, Any]], str]:
    """Run it on the tasks that the flags name, in the root of the repository."""
    said = f"model=smollm2-135m,base_url=http://127.0.0.1:{house.port}{path},{tokenizer}"
    command = [str(LM_EVAL), "run", "--model", kind, "--model_args", said, *flags]
    command += ["--output_path", str(folder / "out"), "--log_samples"]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": house.key}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    (noted,) = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in noted.read_text().splitlines()], done.stdout


@pytest.mark.parametrize(
    ("kind", "path", "flags"),
    [
        ("local-completions", "/v1/completions", ()),
        ("local-chat-completions", "/v1/chat/completions", ("--apply_chat_template",)),
    ],
)
def test_it_asks_every_question_and_scores_what_the_model_said(
    smol: Installation, tmp_path: Path, kind: str, path: str, flags: tuple[str, ...]
) -> None:
    noted, wrote = evaluate(smol, tmp_path, kind, path, *flags)
    assert "exact_match" in wrote
    answers = {each["doc"]["question"]: each["resps"][0][0] for each in noted}
    for question, _ in QUESTIONS:
        asked = (
            {"prompt": question} if path == "/v1/completions" else {"messages": [{"role": "user", "content": question}]}
        )
        fields = {"model": "smollm2-135m", "max_tokens": 12, "temperature": 0, "stop": ["."], "seed": 1234}
        choice = json.loads(smol.ask("POST", path, {**fields, **asked})[2])["choices"][0]
        assert answers[question] == choice.get("text", choice.get("message", {}).get("content"))
        assert answers[question]


def tokenizer_of(gguf: Path, folder: Path) -> str:
    """What it is to be told of the tokenizer that is in a model's file."""
    script = Path(__file__).parent / "tokenizer_script.py"
    command = [LM_EVAL.parent / "python", script, gguf, folder / "tokenizer"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    return f"tokenizer_backend=huggingface,tokenizer={folder / 'tokenizer'},num_concurrent=1"


def test_it_ranks_answers_by_their_probability(smol: Installation, smol_gguf: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(smol_gguf, tmp_path)
    noted, wrote = evaluate(smol, tmp_path, "local-completions", "/v1/completions", task=RANKED, tokenizer=tokenizer)
    assert "acc" in wrote
    assert sorted(each["acc"] for each in noted) == [1, 1]
    asked = {"model": "smollm2-135m", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    for each in noted:
        for city, ((logprob, _),) in zip(("Paris", "Rome"), each["resps"], strict=True):
            prompt = f"{each['doc']['question']} {city}"
            choice = json.loads(smol.ask("POST", "/v1/completions", {**asked, "prompt": prompt})[2])["choices"][0]
            assert float(logprob) == pytest.approx(choice["logprobs"]["token_logprobs"][-2], abs=0.05)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("task", ["next_couplet", "next_line_of_code"])
def test_it_asks_the_tasks_that_ship(smol: Installation, smol_gguf: Path, tmp_path: Path, task: str) -> None:
    tokenizer = tokenizer_of(smol_gguf, tmp_path)
    flags = ("--include_path", "recipes/lm_eval", "--tasks", task, "--limit", "1")
    (noted,), wrote = ran(smol, tmp_path, "local-completions", "/v1/completions", *flags, tokenizer=tokenizer)
    assert task in wrote
    logprobs = [float(logprob) for ((logprob, _),) in noted["resps"]]
    assert len({*logprobs}) == 4
    assert noted["acc"] == (logprobs.index(max(logprobs)) == noted["doc"]["answer"])
    (row,) = harness.keep(tmp_path, tmp_path / "out")
    assert (row.name, row.figures["acc"], row.asked["questions"], row.asked["of"]) == (task, noted["acc"], 1, 200)
