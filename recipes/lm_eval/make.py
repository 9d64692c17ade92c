"""The questions of the two tasks beside this file, made of held-out texts of the corpora: which of four lines is next.

    python recipes/lm_eval/make.py --archives data/archives

Nothing is drawn: hashes of the texts choose the questions, the wrong lines and the place of the right one, so that the
same corpora give the same files. The files ship, so this is only run when a corpus has changed. A wrong line has the
metre, or the indentation, of the right one.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openglm.data import corpora

QUESTIONS = 200
CHOICES = 4
METRES = (12, 16)  # a couplet of five or seven characters a line, with its punctuation
FUNCTION_LINES = range(6, 31)
LINE_LETTERS = range(16, 81)


def rank(*parts: str) -> int:
    """A number of its own for each text, the same everywhere."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8])


def question(context: str, right: str, others: Sequence[str]) -> dict[str, Any]:
    """The right line among the three others that its hash likes best."""
    wrong = sorted({*others} - {right}, key=lambda line: rank(context, line))[: CHOICES - 1]
    answer = rank(context, right) % CHOICES
    return {"context": context, "choices": [*wrong[:answer], right, *wrong[answer:]], "answer": answer}


def poems(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The last couplet of a regular poem, among last couplets of the same metre."""
    regular: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for text in texts:
        title, *lines = text.split("\n")
        if len(lines) >= 2 and len({*map(len, lines)}) == 1 and len(lines[0]) in METRES and title not in lines:
            regular[len(lines[0])].append((text[: -len(lines[-1]) - 1], lines[-1]))
    for found in regular.values():
        for context, right in found:
            yield question(context, right, [line for _, line in found])


def functions(module: str) -> Iterator[list[str]]:
    """The lines of each short function of a module, without the indentation of what it stands in."""
    lines = module.split("\n")
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            body = lines[node.lineno - 1 : node.end_lineno]
            if len(body) in FUNCTION_LINES:
                yield textwrap.dedent("\n".join(body)).split("\n")


def indentation(line: str) -> int:
    """In spaces."""
    return len(line) - len(line.lstrip())


def code(modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A line of a function's second half, among lines of the same module that stand as deep."""
    for module in modules:
        known = list(functions(module))
        for body in known:
            fit = [
                at
                for at in range(len(body) // 2, len(body))
                if len(body[at].strip()) in LINE_LETTERS and not body[at].lstrip().startswith(("#", '"', "'"))
            ]
            if not fit:
                continue
            at = min(fit, key=lambda at: rank(*body[: at + 1]))
            elsewhere = [line for other in known if other is not body for line in other]
            deep = indentation(body[at])
            others = {
                line
                for line in elsewhere
                if indentation(line) == deep and len(line.strip()) in LINE_LETTERS and line not in body
            }
            if len(others) >= CHOICES - 1:
                yield question("\n".join(body[:at]), body[at], sorted(others))


def write(path: Path, questions: Iterator[dict[str, Any]]) -> None:
    """The questions that their hash likes best."""
    chosen = sorted(questions, key=lambda each: rank(each["context"]))[:QUESTIONS]
    assert len(chosen) == QUESTIONS, f"only {len(chosen)} questions for {path.name}"
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in chosen))
    print(f"{path.name}: {len(chosen)} questions")


def main() -> None:
    """Both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archives", type=Path, default=Path("data/archives"), help="where packages are kept")
    asked = parser.parse_args()
    here = Path(__file__).parent
    write(here / "next_couplet.jsonl", poems(corpora.load(["chinese-poetry"], asked.archives).held_out))
    write(here / "next_line_of_code.jsonl", code(corpora.load(["python-library"], asked.archives).held_out))


if __name__ == "__main__":
    main()
