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
PROGRAM_CPU_S = 3  #: of a program that a model wrote: the official harness of HumanEval gives as much, of wall time
PROGRAM_WALL_S = 20  #: of the same: a busy machine may give it a sixth of a core, and a program that sleeps takes none
PROGRAM_MEMORY_BYTES_MAX = 512 * 1024 * 1024  #: of address space, of each of its processes
PROGRAM_SCRATCH_BYTES_MAX = 16 * 1024 * 1024  #: of files: they are memory
PROGRAM_OUTPUT_BYTES_MAX = 1024 * 1024  #: nobody reads more
PROGRAM_PROCESSES_MAX = 8  #: with its threads and its guard; the problems want one
PROGRAM_FILES_MAX = 64  #: open at once
WARDEN_GRACE_S = 10  #: beyond the wall time, until its guard is taken to be dead itself
WARDEN_REPORT_BYTES_MAX = 4096  #: a report is one line, written at once
ASKED_AT_ONCE_MAX = 64  #: requests in flight: each may also be two programs that run
ASKED_AGAIN_MAX = 6  #: tries of a request
ASKED_AGAIN_S = 0.5  #: before the second try; then twice as long each time, a quarter of a minute in all
ANSWER_TIMEOUT_S = 600  #: for one completion: a small machine may have many in its queue
SAMPLES_MAX = 1000  #: answers a problem; the paper takes 200

# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────
DEPTH_MAX = 128  #: layers that the dial goes to; no published GLM has more than 93
LINE_S = 5.0  #: between lines for the reader of a run

# ── tuning ────────────────────────────────────────────────────────────────────────────────────────────────────────
EXAMPLE_MISTAKES_MAX = 10  #: wrong lines of a file that are told at once
COMPILED_TEMPLATES_MAX = 8  #: kept: our families, and those of the checkpoints that are being looked at
LAUNCH_LOOK_S = 0.2  #: between looks at the log of a trainer that was launched: a step of one takes longer
LAUNCH_STOP_S = 10.0  #: that it gets to leave by itself; ``torchrun`` gives its workers no more either
POSITIONS_MAX = 8192  #: of rows side by side: their states are all in memory for the way back
GGUF_BYTES_WHOLE_MAX = 2_000_000_000  #: of 16-bit weights; larger models are written with 8 bits
