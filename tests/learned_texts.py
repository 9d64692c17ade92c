"""What the model of ``learned_glm.py`` knows by heart: what is written, and what belongs into each blank."""

from __future__ import annotations

POEM, POEM_REST = "春眠不觉晓，", "处处闻啼鸟。"
GAPS, GAPS_FILLED = "春眠[MASK]晓，处处[MASK]鸟。", ["不觉", "闻啼"]
CODE, CODE_REST, CODE_FILLED = "def add(a, b):\n    return ", "\n", "a + b"
