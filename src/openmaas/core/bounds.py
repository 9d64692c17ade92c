"""Every limit of openmaas, with its reason. Nothing else in the code invents one.

Sizes are bytes, times seconds unless the name says otherwise. What an operator may need to change is a setting; these
are the laws that keep a process inside its memory and its promises.
"""

# ── the front door ────────────────────────────────────────────────────────────────────────────────────────────────
HEADER_BYTES_MAX = 64 * 1024  #: request line and headers together; cookies of a console and a long JWT fit
HEADER_COUNT_MAX = 100  #: as nginx and Apache: no client sends more
URL_BYTES_MAX = 8 * 1024  #: RFC 9112 §3 asks for at least 8,000
BODY_BYTES_MAX = 32 * 1024 * 1024  #: an inference body is held in memory once; a million-token prompt is about 5 MB
PIPELINED_MAX = 32  #: requests read ahead on one connection before we stop reading it
CONNECTIONS_MAX = 16_384  #: per relay; each costs about 4 KiB
BACKLOG = 4_096  #: connections the kernel keeps while a relay restarts
HEADER_TIMEOUT_S = 15.0  #: from the first byte of a request to its last header (slow-loris)
BODY_TIMEOUT_S = 60.0  #: between two pieces of a body
KEEPALIVE_TIMEOUT_S = 75.0  #: an idle connection, as nginx
WRITE_TIMEOUT_S = 120.0  #: a client that takes nothing for so long is gone
SWEEP_INTERVAL_S = 1.0  #: how often deadlines are looked at; one sweep per process, no timer per request
WRITE_BUFFER_BYTES_HIGH = 256 * 1024  #: above this a slow reader pauses its engine
WRITE_BUFFER_BYTES_LOW = 64 * 1024  #: below this it goes on

# ── engines ───────────────────────────────────────────────────────────────────────────────────────────────────────
CONNECT_TIMEOUT_S = 5.0  #: a replica on this machine or network answers in milliseconds
FIRST_BYTE_TIMEOUT_S = 600.0  #: a long prefill on a CPU takes minutes
STALL_TIMEOUT_S = 120.0  #: between two pieces of an answer
CANCEL_TIMEOUT_S = 1.0  #: how long a cancelled engine may take to report its final count
QUEUE_TIMEOUT_S = 60.0  #: waiting for a free replica before the caller is told to come back
QUEUE_LENGTH_MAX = 1_024  #: waiting requests per model
RESPONSE_HEADER_BYTES_MAX = 64 * 1024  #: an engine's header
ERROR_BODY_BYTES_MAX = 64 * 1024  #: how much of an engine's error is read
EVENT_BYTES_MAX = 8 * 1024 * 1024  #: one server-sent event
TAIL_BYTES = 8 * 1024  #: how much of an answer's end is searched for its usage
POOL_IDLE_S = 4.0  #: an idle engine connection is closed before the engine (llama.cpp: 5 s) does it
POOL_SIZE_MAX = 256  #: idle connections kept per replica
PROBE_INTERVAL_S = 0.2  #: how often replicas are asked for their health
PROBE_TIMEOUT_S = 5.0  #: a healthy engine answers at once, even while it generates
PROBE_FAILURES_MAX = 3  #: then the supervisor takes the engine for stalled
STALL_PROBE_INTERVAL_S = 2.0  #: how often the supervisor asks an engine whether it still answers
RESTART_DELAY_S = 0.2  #: first back-off of a crashed child …
RESTART_DELAY_S_MAX = 15.0  #: … doubled up to this

# ── identity ──────────────────────────────────────────────────────────────────────────────────────────────────────
FOLLOW_INTERVAL_S = 0.2  #: how often the change sequence is read
STALE_AFTER_S = 1.0  #: older than this a relay refuses: a revoked key must not live longer
KEYS_CACHED_MAX = 100_000  #: keys a relay remembers
UNKNOWN_KEYS_CACHED_MAX = 10_000  #: unknown ids a relay remembers, so that guessing costs no database reads

# ── the ledger ────────────────────────────────────────────────────────────────────────────────────────────────────
JOURNAL_SEGMENT_BYTES = 32 * 1024 * 1024  #: a journal goes on in a new file above this
JOURNAL_RESERVE_BYTES = 1024 * 1024  #: disk is claimed in steps of this
JOURNAL_RECORD_BYTES_MAX = 4 * 1024  #: a record never needs more: every text in it is bounded
LEASE_SHARE = 4  #: a lease takes at most one part in this of what is free, unless the request needs more
LEASE_HOLDS = 64  #: … and at most so many times the hold that asked for it
LEASE_IDLE_S = 2.0  #: an unused lease goes back after this
POST_BATCH_MAX = 1_000  #: records posted in one transaction
POST_INTERVAL_S = 0.05  #: how long the poster sleeps when there is nothing
ORPHAN_GRACE_S = 3.0  #: after a relay died, engines have so long to notice and write their counts
PROGRESS_INTERVAL_S = 1.0  #: how often a relay notes what running requests have delivered
RECONCILE_INTERVAL_S = 5.0  #: how often estimates are compared with the engines' counts …
RECONCILE_SINCE_S = 3_600  #: … of receipts no older than this
JOURNAL_KEPT_S = 7 * 24 * 3600  #: a posted journal is kept so long for the audit
IDEMPOTENT_ANSWER_BYTES_MAX = 1024 * 1024  #: a longer answer keeps only its outcome
IDEMPOTENT_KEPT_S = 24 * 3600  #: how long an answer can be repeated
IDEMPOTENT_WAIT_S = 60.0  #: how long a repetition waits for the first request …
IDEMPOTENT_POLL_S = 0.2  #: … asking so often
IDEMPOTENCY_KEY_BYTES_MAX = 255  #: as Stripe's
CHOICES_MAX = 128  #: as OpenAI's n
ANSWER_BYTES_MAX = 128 * 1024 * 1024  #: an answer that is not a stream is held whole: 2,048 embeddings fit
TEMPLATE_TOKENS = 512  #: what a chat template may add to a prompt: system text and tool instructions
PAGE_SIZE_MAX = 100  #: rows of one page of any list
PAGE_SIZE = 20  #: rows when nobody asked
TEXT_BYTES_MAX = 200  #: a name, a reference, a path

# ── shutting down ─────────────────────────────────────────────────────────────────────────────────────────────────
DRAIN_GRACE_S = 5.0  #: what a child gets on top of the drain time before it is killed
