"""Writes the tokenizer of a GGUF file as ``transformers`` reads one: ``tokenizer_script.py GGUF FOLDER``.

Run in lm_eval's environment: it wants the ids of a text, and the server tells none. For SmolLM2's kind of tokenizer.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

gguf, tokenizers, transformers = (importlib.import_module(name) for name in ("gguf", "tokenizers", "transformers"))


def texts(fields: Any, name: str) -> list[str]:
    """An array of the file's."""
    field = fields[f"tokenizer.ggml.{name}"]
    return [bytes(field.parts[at]).decode() for at in field.data]


fields = gguf.GGUFReader(sys.argv[1]).fields
assert texts(fields, "pre") == ["smollm"], texts(fields, "pre")
words = texts(fields, "tokens")
merges = [tuple(each.split(" ")) for each in texts(fields, "merges")]
made = tokenizers.Tokenizer(
    tokenizers.models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges)
)
digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [digits, tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
made.decoder = tokenizers.decoders.ByteLevel()
made.add_special_tokens([word for word in words if word.startswith("<|") and word.endswith("|>")])
transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>").save_pretrained(sys.argv[2])
