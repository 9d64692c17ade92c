"""Which part of a prompt the pipeline finds in its cache. It does not say so itself (openvino-genai 2026.4), so this is
the same book, kept beside it: blocks of tokens, each known by all that stands before it, the one used longest ago
forgotten first.

It is careful: it has as many blocks as the pipeline, counts those that are not full as well, and never promises the
last token of a prompt, which is always computed. So what it tells was not computed again. It knows tokens and no text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

#: Tokens of one block of the cache on a CPU (openvino-genai: ``CacheManager::get_block_size``).
BLOCK_TOKENS = 32


class Prefixes:
    """The blocks that are computed. ``blocks`` is how many the pipeline has."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._known: OrderedDict[int, None] = OrderedDict()

    def cached(self, tokens: Sequence[int]) -> int:
        """How many of the first ``tokens`` of a prompt are not computed again."""
        count = 0
        for key in _keys(tokens):
            if key not in self._known:
                break
            count += BLOCK_TOKENS
        return min(count, len(tokens) - 1)

    def computed(self, tokens: Sequence[int]) -> None:
        """All but the last of ``tokens``, a prompt or one with its answer, lie in the cache from now on."""
        for key in _keys(tokens[:-1]):
            self._use(key)
        self._use(hash((len(tokens), *tokens[-BLOCK_TOKENS:])))  # the block that is not full takes one as well

    def _use(self, key: int) -> None:
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > self._blocks:
            self._known.popitem(last=False)


def _keys(tokens: Sequence[int]) -> Iterator[int]:
    """A key for each full block of ``tokens``, from the first."""
    key = 0
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        key = hash((key, *tokens[end - BLOCK_TOKENS : end]))
        yield key
