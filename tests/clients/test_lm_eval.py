"""lm_eval, unchanged, puts questions of its own to the real embedded model; `make setup-lm-eval` installs it.

It cannot rank answers by their probability here (``loglikelihood``): it wants a tokenizer of the same model beside the
probabilities of a prompt, and the server tells no ids.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from installation import Installation

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
pytestmark = pytest.mark.skipif(not LM_EVAL.exists(), reason="lm_eval is not installed: make setup-lm-eval")


def evaluate(house: Installation, folder: Path, kind: str, path: str, *flags: str) -> tuple[list[dict[str, Any]], str]:
    """Let it ask; returns what it noted of each question, and what it wrote."""
    questions = folder / "capitals.jsonl"
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in QUESTIONS))
    (folder / "capitals.yaml").write_text(TASK.format(questions=questions))
    said = f"model=smollm2-135m,base_url=http://127.0.0.1:{house.port}{path},tokenizer_backend=none"
    command = [str(LM_EVAL), "run", "--model", kind, "--model_args", said, "--tasks", "capitals", *flags]
    command += ["--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples"]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": house.key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
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
