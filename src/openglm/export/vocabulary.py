"""A tokenizer as GGUF keeps it: every token with its kind, the merges, and who begins and ends.

Byte-level BPE only: llama.cpp knows GLM-4's way of splitting words by the name ``glm4``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gguf

from openglm.data.specials import CONTROL, PUBLISHED
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused

#: What llama.cpp asks for by role, and GLM's token for it. A turn ends where somebody else begins to speak.
ROLES = {
    "eos": "<|endoftext|>",
    "pad": "<|endoftext|>",
    "unk": "<|endoftext|>",
    "bos": "[gMASK]",
    "eot": "<|user|>",
    "eom": "<|observation|>",
    "fim_pre": "<|code_prefix|>",
    "fim_suf": "<|code_suffix|>",
    "fim_mid": "<|code_middle|>",
}


def check(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer's own JSON. Raises ``Refused`` for a vocabulary that llama.cpp cannot read."""
    told: dict[str, Any] = json.loads(tokenizer.library.to_str())
    if told["model"]["type"] != "BPE" or told["model"].get("byte_fallback"):
        raise Refused(
            "tokenizer: it is not byte-level BPE, and llama.cpp has no other of GLM's",
            hint="Serve the model from its checkpoint, or train it with data.tokenizer.train_bpe.",
        )
    return told


def write(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    """Add the ``size`` tokens of a model; what the tokenizer does not have is padding that nobody says. Raises as
    ``check``."""
    told = check(tokenizer)
    tokens, kinds = _tokens(tokenizer, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("glm4")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in told["model"]["merges"]])
    for role, name in ROLES.items():
        token = tokenizer.library.token_to_id(name)
        if token is not None:
            writer.add_uint32(f"tokenizer.ggml.{ROLE_KEYS.get(role, role)}_token_id", token)
    writer.add_add_bos_token(False)  # the template says [gMASK]<sop>, and plain text has none


ROLE_KEYS = {"unk": "unknown", "pad": "padding"}


def _tokens(tokenizer: Tokenizer, size: int) -> tuple[Sequence[str], Sequence[int]]:
    control, marks = set(CONTROL), set(PUBLISHED)
    added = {token.content: token.special for token in tokenizer.library.get_added_tokens_decoder().values()}
    tokens, kinds = [], []
    for number in range(size):
        name = tokenizer.library.id_to_token(number)
        if name is None:
            tokens.append(f"[PAD{number}]")
            kinds.append(gguf.TokenType.UNUSED)
            continue
        tokens.append(name)
        if name in control or added.get(name):
            kinds.append(gguf.TokenType.CONTROL)
        elif name in marks or name in added:
            kinds.append(gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    return tokens, kinds
