"""Every limit of openglm, with its reason. openmaas has its own in `core/bounds.py`, and neither imports the other."""

# ── what becomes part of a corpus ─────────────────────────────────────────────────────────────────────────────────
MEMBER_BYTES_MAX = 64 * 1024 * 1024  #: the largest member that counts has 14 MB; a larger one is not what was pinned
POEM_LETTERS_MIN = 8  #: less is a fragment: half a couplet of the shortest metre
POEM_LETTERS_MAX = 2000  #: more is no poem but a book that was put among them
TITLE_LETTERS_MAX = 30  #: longer ones are the poem's occasion, told in prose
MODULE_BYTES_MAX = 200_000  #: larger modules of the standard library are tables
ENTRY_LETTERS_MIN = 60  #: shorter entries of a dictionary only refer to another
PAGE_LETTERS_MIN = 100  #: shorter pages are tables of contents
LEAKED_SHARE_MAX = 0.2  #: of a held-out document's runs of words: a formula is shared by many, an edition shares all
MERGED_LETTERS_MAX = 4_000_000  #: that merges are learned from: poems have no spaces, and 33 million took 5 GB

# ── blank infilling ───────────────────────────────────────────────────────────────────────────────────────────────
SPAN_MAX = 39  #: tokens of a token-level blank, as the official code has it
SHORTENED_MIN = 32  #: tokens of a piece of a shortened sample, as the official code has it

# ── evaluation ────────────────────────────────────────────────────────────────────────────────────────────────────
MIDDLE_TOKENS_MAX = 64  #: that a causal model writes into a gap: what is longer than any that was cut is wrong anyway

# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────
DEPTH_MAX = 128  #: layers that the dial goes to; no published GLM has more than 93
LINE_S = 5.0  #: between lines for the reader of a run

# ── tuning ────────────────────────────────────────────────────────────────────────────────────────────────────────
EXAMPLE_MISTAKES_MAX = 10  #: wrong lines of a file that are told at once
POSITIONS_MAX = 8192  #: of rows side by side: their states are all in memory for the way back
GGUF_BYTES_WHOLE_MAX = 2_000_000_000  #: of 16-bit weights; larger models are written with 8 bits
