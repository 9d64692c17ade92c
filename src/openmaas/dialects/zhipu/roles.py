"""Two ways of asking that Zhipu gave models of their own, said to any chat model in words.

``meta`` describes a character (CharGLM): it becomes the system message. ``extra`` is code with a gap (CodeGeeX). Models
that fill gaps each have special tokens of their own, which the wire cannot name; any model that follows instructions
can be asked in words, so that is what is done. https://docs.bigmodel.cn/cn/guide/models/humanoid/charglm-4
"""

from __future__ import annotations

import msgspec


class Character(msgspec.Struct):
    """Who the model plays, and with whom it speaks."""

    user_info: str | None = None
    bot_info: str | None = None
    bot_name: str | None = None
    user_name: str | None = None


class _Target(msgspec.Struct):
    code_prefix: str | None = None
    code_suffix: str | None = None
    path: str | None = None
    language: str | None = None


class _Context(msgspec.Struct):
    path: str | None = None
    code: str | None = None


class Infilling(msgspec.Struct):
    """Code with a gap, and other files of its project."""

    target: _Target
    contexts: list[_Context] | None = None


def playing(who: Character) -> str:
    """The system message; empty when nobody is described."""
    lines = [
        f"请你扮演“{who.bot_name}”,始终以该角色的身份和口吻说话。" if who.bot_name else "",
        f"角色设定:{who.bot_info}" if who.bot_info else "",
        f"与你对话的人是“{who.user_name}”。" if who.user_name else "",
        f"对方的设定:{who.user_info}" if who.user_info else "",
    ]
    return "\n".join(line for line in lines if line)


def filling(asked: Infilling) -> str:
    """The question: what stands between prefix and suffix, and nothing else."""
    target = asked.target
    parts = [f"File {each.path or 'unnamed'}:\n{each.code or ''}\n" for each in asked.contexts or []]
    kind = f" of {target.language}" if target.language else ""
    name = f" in {target.path}" if target.path else ""
    parts.append(
        f"Complete the code{kind}{name} at the place marked <|fill|>. Answer with the missing code only, without"
        f" explanation and without code fences.\n\n{target.code_prefix or ''}<|fill|>{target.code_suffix or ''}"
    )
    return "\n".join(parts)
