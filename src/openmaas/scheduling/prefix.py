"""What a replica has read lately: chained hashes of the raw bytes of prompts. No tokenizer, and no copy of a prompt.

A prompt is cut into blocks; the hash of a block is that of all bytes up to its end, so two prompts with equal hashes at
a place began alike. A block is 2,048 bytes, about the 512 tokens by which Mooncake's traces are cut, so those drive
these rules as they are (https://github.com/kvcache-ai/Mooncake). A wrong match (the hash is CRC-32) costs a miss of a
cache and nothing else. What a replica is taken to hold is bounded by what its own cache holds; beyond that, the block
needed longest ago is forgotten, and of one prompt its end before its beginning.
"""

from __future__ import annotations

from collections import OrderedDict
from zlib import crc32

from openmaas.core.bounds import BLOCK_BYTES

Chain = tuple[int, ...]


def chain_of(prompt: bytes | memoryview) -> Chain:
    """The hashes of the whole blocks of ``prompt``, each of everything up to its end."""
    view, found, hashed = memoryview(prompt), [], 0
    for at in range(0, len(view) - BLOCK_BYTES + 1, BLOCK_BYTES):
        hashed = crc32(view[at : at + BLOCK_BYTES], hashed)
        found.append(hashed)
    return tuple(found)


class Prefixes:
    """The blocks that one replica holds, at most ``blocks_max`` of them."""

    __slots__ = ("_blocks", "blocks_max")

    def __init__(self, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, chain: Chain) -> int:
        """How many blocks of ``chain``, from its beginning on, are held. Ends are forgotten before beginnings, so those
        that are held stand together, and the last of them is found by halving."""
        blocks = self._blocks
        if not chain or chain[0] not in blocks:
            return 0
        held, end = 1, len(chain)
        while held < end:
            middle = (held + end + 1) // 2
            if chain[middle - 1] in blocks:
                held = middle
            else:
                end = middle - 1
        return held

    def read(self, chain: Chain) -> None:
        """The replica reads this prompt now."""
        blocks = self._blocks
        for block in reversed(chain[: self.blocks_max]):
            blocks[block] = None
            blocks.move_to_end(block)
        while len(blocks) > self.blocks_max:
            blocks.popitem(last=False)

    def clear(self) -> None:
        """The replica has forgotten everything: it was started again."""
        self._blocks.clear()
