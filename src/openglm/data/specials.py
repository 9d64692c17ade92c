"""The special tokens of the GLM line: their names in the published order, and the ids that objectives need.

It is data. It does not know how a text becomes tokens: `tokenizer.py` gives these names their ids, and hands a
`Specials` to the objectives.

Source: the added tokens of GLM-4.5V and GLM-4.7-Flash (36 of them; the vocabularies before had the first 10, 18 or 34).
The classic models' own marks (`[CLS]`, `[dBLOCK]`, one mask for each sentinel) are those of github.com/THUDM/GLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openglm.errors import Refused

# These are special in the narrow sense: a decoder that skips special tokens skips them.
CONTROL = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
    "<|begin_of_transcription|>",
    "<|end_of_transcription|>",
)
# These are single tokens too, but a decoder shows them: whoever parses a tool call or a thought wants to see them.
SHOWN = (
    "<|code_prefix|>",
    "<|code_middle|>",
    "<|code_suffix|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "/nothink",
    "<|begin_of_box|>",
    "<|end_of_box|>",
    "<|image|>",
    "<|video|>",
)
PUBLISHED = CONTROL + SHOWN


def classic(sentinels: int = 0) -> tuple[str, ...]:
    """The marks that only classic objectives use; `sentinels` more pairs for the arm that numbers its blanks."""
    numbered = [name for i in range(1, sentinels + 1) for name in (f"[MASK{i}]", f"<sop{i}>")]
    return ("[CLS]", "[dBLOCK]", *numbered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specials:
    """The ids that objectives use. What a vocabulary does not have is None, and an objective that wants it says so."""

    mask: int  # stands for a blank of some tokens
    gmask: int  # for the rest of a document
    smask: int  # for sentences
    sop: int  # a span's input begins with it
    eop: int  # a span's target ends with it
    eos: int  # ends a document
    pad: int  # fills up a batch; never counted, so it may be any id
    enc: int | None = None  # [CLS]: begins a sample in the official classic models
    dblock: int | None = None  # [dBLOCK]: stands for a token that is hidden from the input, but not from the target
    sentinel_masks: tuple[int, ...] = ()  # [MASK], [MASK1], [MASK2] …
    sentinel_sops: tuple[int, ...] = ()  # <sop>, <sop1>, <sop2> …
    code_prefix: int | None = None
    code_middle: int | None = None
    code_suffix: int | None = None


def find(ids: Mapping[str, int]) -> Specials:
    """The ids of a vocabulary (name → id).

    Raises:
        Refused: a token without which nothing can be trained is missing.
    """
    wanted = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|endoftext|>")
    if missing := [name for name in wanted if name not in ids]:
        raise Refused(f"tokenizer: it has no {', '.join(missing)}", hint="Train one with openglm.data.tokenizer.")
    masks, sops = [ids["[MASK]"]], [ids["<sop>"]]
    while (number := len(masks)) and f"[MASK{number}]" in ids and f"<sop{number}>" in ids:
        masks.append(ids[f"[MASK{number}]"])
        sops.append(ids[f"<sop{number}>"])
    return Specials(
        mask=masks[0],
        gmask=ids["[gMASK]"],
        smask=ids["[sMASK]"],
        sop=sops[0],
        eop=ids["<eop>"],
        eos=ids["<|endoftext|>"],
        pad=ids["<|endoftext|>"],
        enc=ids.get("[CLS]"),
        dblock=ids.get("[dBLOCK]"),
        sentinel_masks=tuple(masks),
        sentinel_sops=tuple(sops),
        code_prefix=ids.get("<|code_prefix|>"),
        code_middle=ids.get("<|code_middle|>"),
        code_suffix=ids.get("<|code_suffix|>"),
    )
