"""Every limit of openmaas, with its reason. Nothing else in the code invents one.

Sizes are bytes, times seconds unless the name says otherwise. What an operator may need to change is a setting; these
are the laws that keep a process inside its memory and its promises.
"""

# ── the front door ────────────────────────────────────────────────────────────────────────────────────────────────
HEADER_BYTES_MAX = 64 * 1024  #: request line and headers together; cookies of a console and a long JWT fit
HEADER_COUNT_MAX = 100  #: as nginx and Apache: no client sends more
URL_BYTES_MAX = 8 * 1024  #: RFC 9112 §3 asks for at least 8,000
BODY_BYTES_MAX = 32 * 1024 * 1024  #: an inference body is held in memory once; a million-token prompt is about 5 MB
BODIES_BYTES_MAX = 512 * 1024 * 1024  #: all that a relay gathers at once: sixteen of the longest, 1,700 of 300 KB
JSON_BYTES_MAX = 256 * 1024  #: a body of the management API; a key that names 1,000 models of 200 bytes fits
READ_BYTES = 64 * 1024  #: one read from a client; the buffer is shared by all connections
IN_PLACE_BYTES_MIN = 32 * 1024  #: a body that lacks more is read to where it stays, not through that buffer
IN_PLACE_BYTES_FIRST = 512 * 1024  #: room made for such a body at once; more only as it comes
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
JOIN_BYTES_MAX = 16 * 1024  #: a shorter answer is joined with its framing; a longer one is not copied
LENGTH_DIGITS_MAX = 15  #: of a Content-Length: more than any body of ours, less than 2^63
TARGETS_CACHED_MAX = 256  #: targets a door remembers as well formed: the few that every request asks for

# ── engines ───────────────────────────────────────────────────────────────────────────────────────────────────────
CONNECT_TIMEOUT_S = 5.0  #: a replica on this machine or network answers in milliseconds
FIRST_BYTE_TIMEOUT_S = 600.0  #: a long prefill on a CPU takes minutes
STALL_TIMEOUT_S = 120.0  #: between two pieces of an answer
CANCEL_TIMEOUT_S = 1.0  #: how long a cancelled engine may take to report its final count
QUEUE_TIMEOUT_S = 60.0  #: waiting for a free replica before the caller is told to come back
QUEUE_LENGTH_MAX = 256  #: waiting requests of one organisation per model
ERROR_BODY_BYTES_MAX = 64 * 1024  #: how much of an engine's error is read
SAID_BYTES_MAX = 500  #: of an error that came with a status of success, shown to the caller
EVENT_BYTES_MAX = 8 * 1024 * 1024  #: one server-sent event
PEER_TIMEOUT_S = 1.0  #: a relay tells another its counts; Prometheus waits for 10 s
COUNT_TIMEOUT_S = 30.0  #: an engine counts a prompt of a million tokens in seconds
COUNT_ANSWER_BYTES_MAX = 16 * 1024 * 1024  #: vLLM sends every token along: a million of them have 8 MB
POOL_IDLE_S = 4.0  #: an idle engine connection is closed before the engine (llama.cpp: 5 s) does it
CLOSED_NOTICE_S = 0.5  #: a kept connection that the engine had closed is seen closed within a round trip
POOL_SIZE_MAX = 256  #: idle connections kept per replica
PROBE_INTERVAL_S = 0.2  #: how often replicas are asked for their health
PROBE_TIMEOUT_S = 5.0  #: a healthy engine answers at once, even while it generates
PROBE_FAILURES_MAX = 3  #: then the supervisor takes the engine for stalled
STALL_PROBE_INTERVAL_S = 2.0  #: how often the supervisor asks an engine whether it still answers
RESTART_DELAY_S = 0.2  #: first back-off of a crashed child …
RESTART_DELAY_S_MAX = 15.0  #: … doubled up to this
HEAD_START_S = 3.0  #: control plane and poster wait so long: on two cores engine and relay load faster alone
SOCKET_PATH_BYTES_MAX = 107  #: sun_path of Linux holds 108 bytes with its closing NUL (unix(7))
REQUEST_ID_BYTES_MAX = 64  #: of the header x-request-id that an engine writes to its meter; ours have 30
METER_BYTES_MAX = 64 * 1024 * 1024  #: a meter file goes on in a new one above this: one is read in a tenth of a second
INPUTS_MAX = 2_048  #: texts of one embeddings request, as OpenAI's
EMBEDDED_MAX = 64  #: the same on Zhipu's base URL, as theirs
RERANKED_MAX = 128  #: documents of one rerank request, as Zhipu's
RERANK_TEXT_LENGTH_MAX = 4_096  #: characters of its query, and of each document
SEARCH_COUNT = 10  #: pages that a search finds when nobody says how many, as Zhipu's …
SEARCH_COUNT_MAX = 50  #: … to theirs at most
SEARCH_QUERY_LENGTH_MAX = 1_000  #: characters of a query; Zhipu advises 70, and it goes into an address
SEARCH_TIMEOUT_S = 15.0  #: all pages of one search; SearXNG itself gives its engines 3 s by default, 10 at most
SEARCH_ANSWER_BYTES_MAX = 4 * 1024 * 1024  #: a page of SearXNG's: 30 results have about 50 KB
SEARCH_PAGES_MAX = 5  #: pages asked of SearXNG for one search: 50 results are three to five
SNIPPET_LENGTH = 600  #: characters of a page's text that are shown, as Zhipu's `medium` …
SNIPPET_LENGTH_MAX = 2_500  #: … and `high`
FOLDER_SCAN_INTERVAL_S = 5.0  #: how often a searched folder is looked through: 10,000 files take 0.4 s on a busy core
FOLDER_FILES_MAX = 10_000  #: files of a searched folder; more want a search server of their own
FOLDER_FILE_BYTES_MAX = 4 * 1024 * 1024  #: one of them: a book has a megabyte
FOLDER_BYTES_MAX = 128 * 1024 * 1024  #: all of them: the index lies in memory, about five times as large
MODERATED_MAX = 1_024  #: texts of one moderation: a hold for as many calls, and one answer of two megabytes
MODERATED_LENGTH_MAX = 256 * 1024  #: their characters: a word list goes through them in a quarter of a second
WORDS_BYTES_MAX = 16 * 1024 * 1024  #: a word list; the longest known have 100,000 words, one megabyte
ECHO_FLUSH_S = 0.05  #: what the echo engine wrote has left the process before it dies on cue
ECHO_STALL_KEPT_S = 5.0  #: a connection stalled on cue is dropped so long after its caller has left

# ── tools ─────────────────────────────────────────────────────────────────────────────────────────────────────────
TOOL_NAME_MAX = 256  #: characters of a tool's or an argument's name with the white space around it; OpenAI's have 64
TOOL_VALUE_MAX = 1024 * 1024  #: characters of a call held until it is whole; a file to write streams in GLM's form
TOOL_SPACE_MAX = 64  #: characters of white space held back, because a call may follow; templates put two there
TOOL_SAID_MAX = 64 * 1024  #: characters said before a demanded call that are held back until it comes
TOOL_BITE_MAX = 4_096  #: characters that a parser takes at once: time grows with an answer, not with its square
TOOL_SCHEMA_DEPTH_MAX = 64  #: a tool's schema nested deeper is taken for one that allows anything
TOOL_SCHEMA_PARTS_MAX = 10_000  #: schemas inside a tool's schema, with what it refers to; more allow anything
TOOL_CALLS_MAX = 8  #: calls of one turn that a compiled schema allows: a small model fills what it is given

# ── what is composed of several requests ──────────────────────────────────────────────────────────────────────────
SEARCHED_LENGTH_MAX = 70  #: characters of a question that are searched for, as Zhipu advises; a query may be longer
FOUND_LENGTH_MAX = 100_000  #: characters that were found and go into a prompt: fifty results, the longest there are
AGENT_VALUE_LENGTH_MAX = 2_000  #: characters of a variable: advice on style is a page
AGENT_PROMPT_LENGTH_MAX = 20_000  #: of an agent's prompt: the longest published ones have as many
AGENT_VARIABLES_MAX = 32  #: of one agent; Zhipu's have six
AGENT_FILE_BYTES_MAX = 64 * 1024  #: of a file that stands in a prompt, such as a glossary of two thousand terms

# ── weights ───────────────────────────────────────────────────────────────────────────────────────────────────────
COPY_BYTES = 1024 * 1024  #: one read of weights: gigabytes pass, and never lie in memory
PULL_PROGRESS_INTERVAL_S = 0.2  #: how often a pull says how far it is: a line that moves, and a disk left alone
SLOT_CONTEXT_TOKENS_MAX = 8_192  #: unless the operator asks for more: a cache for 128k would fill the memory
GGUF_TEXT_BYTES_MAX = 64 * 1024 * 1024  #: one text of a GGUF header; a chat template has kilobytes

# ── identity ──────────────────────────────────────────────────────────────────────────────────────────────────────
FOLLOW_INTERVAL_S = 0.2  #: how often the change sequence is read
STALE_AFTER_S = 1.0  #: older than this a relay refuses: a revoked key must not live longer
FUNDS_CACHED_MAX = 100_000  #: organisations of which a relay remembers how they pay
KEYS_CACHED_MAX = 100_000  #: keys a relay remembers
UNKNOWN_KEYS_CACHED_MAX = 10_000  #: unknown ids a relay remembers, so that guessing costs no database reads
TOKEN_TERM_MS_MAX = 24 * 3600 * 1000  #: how far ahead a signed token may end; SDKs sign for minutes
CREDENTIAL_BYTES_MAX = 4_096  #: a signed token has 250 bytes; hashing what is longer is a stranger's work

# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────
BUSY_TIMEOUT_S = 10.0  #: a writer waits for another one; each transaction here takes milliseconds
CONNECT_DATABASE_S = 5  #: a server that answers nobody is out; each transaction that waits for it holds a thread
VANISHED_S = 30  #: a machine or a server that vanished is given up after this; no transaction thinks for as long
DATABASE_THREADS = 4  #: of one process: SQLite has one writer, and readers seldom wait
TRANSACTION_TRIES_MAX = 30  #: a transaction that met another one begins again so often …
TRANSACTION_PAUSE_S_MAX = 0.05  #: … and pauses so long before it does, at most
AUDIT_LOG_READ = 1_000  #: entries of the audit log in memory at once: a log of years is read in seconds
DISK_BYTES_MIN = 2 * 1024**3  #: `openmaas doctor` warns below this: one model and a week of journals
FILES_MIN = 1_024  #: `openmaas doctor` warns below this: a connection is a file

# ── the ledger ────────────────────────────────────────────────────────────────────────────────────────────────────
JOURNAL_SEGMENT_BYTES = 32 * 1024 * 1024  #: a journal goes on in a new file above this
JOURNAL_RESERVE_BYTES = 1024 * 1024  #: disk is claimed in steps of this
JOURNAL_READ_BYTES = 1024 * 1024  #: one read of the poster: some thousand records
LEASE_SHARE = 4  #: a lease takes at most one part in this of what is free, unless the request needs more
LEASE_HOLDS = 16  #: … and so many times the hold that asked for it, twice as many when the slice …
LEASE_BUSY_S = 1.0  #: … ran out within this, half as many when it did not …
LEASE_HOLDS_MAX = 4_096  #: … up to this
LEASE_EMPTY_S = 0.25  #: an account that lacked an amount is not asked for as much again within this
LEASE_IDLE_S = 2.0  #: an unused lease goes back after this
RECALL_WAIT_S = 1.0  #: how long a hold waits for other relays to give back what they do not use …
RECALL_POLL_S = 0.1  #: … looking so often
POST_BATCH_MAX = 1_000  #: records posted in one transaction …
POST_BATCH_S = 0.25  #: … and fewer when it takes longer: relays lease of the same accounts meanwhile …
POST_BATCH_MIN = 64  #: … so it begins with this
POST_INTERVAL_S = 0.05  #: how long the poster sleeps when there is nothing …
POST_INTERVAL_S_MAX = 0.4  #: … doubled up to this: an idle house is to cost nothing
ORPHAN_GRACE_S = 3.0  #: after a relay died, engines have so long to notice and write their counts
PROGRESS_INTERVAL_S = 1.0  #: how often a relay notes what running requests have delivered
RECONCILE_INTERVAL_S = 5.0  #: how often estimates are compared with counts that engines wrote late …
RECONCILE_SINCE_S = 3_600  #: … of receipts no older than this
RECONCILE_PAGE_MAX = 20_000  #: requests of the daily report at once: all engines' counts are read for each page
EXPORT_PAGE_MAX = 1_000  #: rows of an export read at once: half a megabyte, however long the export
INVOICE_GRACE_S = 3_600  #: a month's invoices wait so long for its last requests; what is later is on the next
INVOICE_INTERVAL_S = 3_600.0  #: how often the poster looks for months to issue: a month has one end …
INVOICE_CHORE_MAX = 100  #: … and issues for so many organisations between two rounds of posting
TAXES_MAX = 8  #: on one invoice: the most that any country asks for is four
PRUNE_INTERVAL_S = 60.0  #: how often the poster looks what may be forgotten; nothing waits for it
JOURNAL_KEPT_S = 7 * 24 * 3600  #: a posted journal is kept so long for the audit
JOURNAL_STRAY_S = 60.0  #: a relay registers its journal within a second; a folder without a writer and a row may go
METER_KEPT_S = JOURNAL_KEPT_S  #: the audit compares engines' counts with journals: they are kept as long
CHANGES_KEPT = 100_000  #: a relay that is further behind forgets all it remembers; about 5 MB of rows
IDEMPOTENT_ANSWER_BYTES_MAX = 1024 * 1024  #: a longer answer keeps only its outcome
IDEMPOTENT_JOB_BYTES_MAX = 32 * 1024 * 1024  #: of a job's answer, which goes when the job ends; 2,048 embeddings fit
LATE_BYTES_MAX = 64 * 1024 * 1024  #: what a relay holds for a database that is out; then of an answer only its outcome
LATE_INTERVAL_S = 1.0  #: how often it tries to write them
IDEMPOTENT_KEPT_S = 24 * 3600  #: how long an answer can be repeated
IDEMPOTENT_WAIT_S = 60.0  #: how long a repetition waits for the first request …
IDEMPOTENT_POLL_S = 0.2  #: … asking so often
IDEMPOTENCY_KEY_BYTES_MAX = 255  #: as Stripe's
RESPONSES_DAYS_MAX = 3_650  #: ten years; who keeps longer wants an archive, not a conversation
RESPONSE_ASKED_BYTES_MAX = 8 * 1024 * 1024  #: input that is kept: a million-token prompt is about 5 MB
RESPONSE_CHAIN_BYTES_MAX = BODY_BYTES_MAX  #: a conversation from the database is no longer than one that is sent …
RESPONSE_CHAIN_MAX = 1_000  #: … and of no more links: one query finds them, link by link
RESPONSES_FORGOTTEN_MAX = 1_000  #: answers deleted in one transaction, so that nobody waits for it
CHOICES_MAX = 128  #: as OpenAI's n
ANSWER_BYTES_MAX = 128 * 1024 * 1024  #: an answer that is not a stream is held whole: 2,048 embeddings fit
ANSWER_END_BYTES_MAX = 2 * EVENT_BYTES_MAX  #: the end of a stream, held until it is paid: one read can have two events
MEDIA_TOKENS = 16_384  #: what a picture, sound or file that is named by its address may be worth
TEMPLATE_TOKENS = 512  #: what a chat template may add to a prompt: system text and tool instructions
COUNT_MAX = 2**31 - 1  #: of tokens or units that an engine can say of one answer; a column of a receipt holds it
CONTEXT_TOKENS_MAX = 100_000_000  #: no model reads more; a hold for it still fits a column
RECEIPT_WAIT_S = 2.0  #: a receipt of a house in another folder is posted in less; asked for …
RECEIPT_POLL_S = 0.1  #: … so often
CHORES_INTERVAL_S = 60.0  #: how often the poster looks for what has its day: renewals, packs that end
RENEW_AHEAD_S = 3_600  #: a subscription is renewed so long before it ends, and tried again until then
SERIES_DAYS_MAX = 366  #: of usage on one page: the year that Zhipu's own console shows
SERIES_HOURLY_DAYS_MAX = 8  #: of usage by the hour: a week and what has begun; longer ones are by the day
BILLING_DAYS_MAX = 100  #: of usage in one answer of OpenAI's dashboard, as theirs
QUARTER_MS = 15 * 60 * 1000  #: every zone's offset is a multiple of this, so no period begins inside it
BANDS_MAX = 32  #: bands, and hours of the day, of one price; the published tables have three
STRIPE_TOLERANCE_S = 300  #: how old a signed event may be; as Stripe's own libraries
VOUCHERS_MAX = 1_000  #: of one batch: their codes are one answer, shown once
PRICE_FILE_BYTES_MAX = 1024 * 1024  #: of `models prices`; a price has 150 bytes, so some thousand models fit
KEY_MODELS_MAX = 1_000  #: models that one key names; every relay keeps them in memory
RERATE_BATCH = 500  #: receipts priced again in one transaction: a relay's lease never waits longer than for the poster
PAGE_SIZE_MAX = 100  #: rows of one page of any list
LISTED_MODELS_MAX = 1_000  #: of one page of models, as Anthropic's: a row has 300 bytes
PAGE_SIZE = 20  #: rows when nobody asked
TEXT_BYTES_MAX = 200  #: a name, a reference, a path

# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────
WINDOW_S = 60  #: what "a minute" means: any 60 seconds
WINDOW_GRAINS_A_SECOND = 10  #: a relay's own window forgets in steps of this: at most 601 numbers a window
LIMIT_AMOUNT_MAX = 10**12  #: the sum of a window still fits every column, and a double of Lua
LIMITED_CACHED_MAX = 100_000  #: callers and models of which a relay remembers what limits them
WINDOW_MS = WINDOW_S * 1000  #: the same, as lenders count
SLICE_GRAIN_MS = 500  #: a slice of a rate lasts one to two of these, and counts until a minute after
SLICE_WISH = 1.25  #: a slice is so much more than what was used in as long before
SLICE_LOW = 2  #: a slice that was used but for one part in this is followed by the next, before it is needed
SEATS_TERM_MS = 5_000  #: borrowed seats come back so long after their relay was last heard …
SEATS_RENEW_S = 1.0  #: … which is this often while it lives
BORROW_INTERVAL_S = 0.25  #: how often a relay looks what to renew and what to give back
BORROW_VALKEY_TIMEOUT_S = 1.0  #: a Valkey that does not answer within this is taken for dead; requests wait no longer …
BORROW_TABLES_TIMEOUT_S = 3.0  #: … and a database, whose writers wait for one another's disk
BORROW_AGAIN_S = 0.5  #: how often a dead lender is asked again
BORROW_MEET_S = 2.0  #: after it is back relays stay apart for this, until all have told what they used meanwhile
COUNTS_AT_ONCE = 64  #: token counts of one organisation on one relay; Claude Code asks 25 times at once

# ── files, jobs, batches ──────────────────────────────────────────────────────────────────────────────────────────
FILE_BYTES_MAX = 512 * 1024 * 1024  #: of one upload, as OpenAI's; it goes to disk as it comes
FORM_BYTES_MAX = 64 * 1024  #: all fields of a form beside its file
FORM_FIELDS_MAX = 32  #: of one form; the longest known has six
FORM_HEAD_BYTES_MAX = 8 * 1024  #: the head of one part of a form: a name, a file name, a type
FILENAME_BYTES_MAX = 512  #: twice what file systems take
FILE_PAGE_MAX = 1_000  #: files of one page; OpenAI's clients ask for 10,000 and go on by themselves
FILE_EXPIRES_S_MIN = 3_600  #: as OpenAI's expires_after …
FILE_EXPIRES_S_MAX = 30 * 24 * 3600  #: … to the longest
FILE_CHORE_MAX = 1_000  #: files that expire in one round of a minute
FILE_STRAY_S = 3_600  #: bytes that no row knows may be on their way in for so long
BATCH_BYTES_MAX = 100 * 1024 * 1024  #: of a batch's input, as Zhipu's
BATCH_LINES_MAX = 50_000  #: as OpenAI's and Zhipu's
BATCH_EMBEDDINGS_MAX = 10_000  #: lines of a batch of embeddings, as Zhipu's
BATCH_MISTAKES_MAX = 50  #: lines of an input that are said to be wrong; whoever mends these finds the others
BATCH_WINDOW_H_MAX = 7 * 24  #: the longest completion window; the usual one is a day
BATCH_METADATA_MAX = 16  #: pairs, as OpenAI's
CUSTOM_ID_BYTES_MAX = 512  #: names of lines are all in memory at once: 50,000 of these are 25 MB
TASK_BODY_BYTES_MAX = 4 * 1024 * 1024  #: of an async task; it waits in the database
EXAMPLE_BYTES_MAX = 8 * 1024 * 1024  #: one example to tune by: a million-token conversation is about 5 MB
EXAMPLE_MISTAKES_MAX = 10  #: lines that are said to be wrong in one sentence; whoever mends these finds the others
TUNING_EPOCHS_MAX = 50  #: as OpenAI's, …
TUNING_BATCH_MAX = 256  #: … and theirs
TUNING_RATE_MAX = 1_000  #: times the learning rate that a trainer would choose; ten already unlearns
TUNING_BETA_MAX = 2  #: as OpenAI's: what follows is a model that has forgotten what it knew
TUNING_SUFFIX_MAX = 64  #: characters, as OpenAI's: it becomes part of a model's name
TUNING_WAITS_S = 365 * 24 * 3600  #: for a trainer, which may be installed long after the job was asked for
JOB_LEASE_S = 10.0  #: a worker that is not heard for so long has lost its jobs …
JOB_BEAT_S = 2.0  #: … and is heard this often
JOB_LOOK_S = 15.0  #: how often a worker looks for jobs when it heard of none
JOB_SLICE_S = 60.0  #: after this a batch goes to the end of the line, if others wait
JOB_ATTEMPTS_MAX = 20  #: a job that was begun so often without going on is given up
JOB_DRAIN_S = 5.0  #: what runs when a worker is told to leave; what takes longer is asked again, and paid once
JOB_CHORES_S = 60.0  #: how often what expired and ended is removed
JOB_LANE_MAX = 8  #: batches that one worker has under way; they share the lines that may be asked at once
LINE_TRIES_MAX = 6  #: a line that fails an engine so often is answered with the engine's error
LINE_PAUSE_S = 0.2  #: before a line is asked again, doubled …
LINE_PAUSE_S_MAX = 5.0  #: … up to this; a job that must wait longer is given back …
JOB_WAIT_S_MAX = 300.0  #: … and looked at again after this at the latest: somebody may have topped up
FUNDS_TRIES_MAX = 3  #: money may be held by requests that end in a moment: then the rest of a batch is given up
FUNDS_PAUSE_S = 1.0  #: between these
ASK_TIMEOUT_S = 900.0  #: an answer to a line: the longest wait for a slot and a first byte, and time to generate
BATCH_KEPT_S = 30 * 24 * 3600  #: how long a batch is told of after its end; OpenAI and Anthropic keep theirs a month
TASK_KEPT_S = 24 * 3600  #: how long a task's answer can be had, as Zhipu's

# ── shutting down ─────────────────────────────────────────────────────────────────────────────────────────────────
DRAIN_POLL_S = 0.02  #: how often a draining relay or engine looks whether its connections are done
ENGINE_DRAIN_S = 30.0  #: how long an engine lets running answers end: its relay, which has the setting, goes first
DRAIN_ASK_S = 0.5  #: how long a connection that comes while we drain may take to ask
DRAIN_GRACE_S = 5.0  #: what a child gets on top of the drain time before it is killed
WEBHOOKS_MAX = 20  #: endpoints of one organisation
WEBHOOKS_AT_ONCE = 16  #: deliveries on their way at the same time, one for each endpoint
WEBHOOK_TIMEOUT_S = 15.0  #: as Standard Webhooks advises
WEBHOOK_CLAIM_S = 60  #: a delivery belongs to who took it so long: longer than any attempt takes
WEBHOOK_IDLE_S = 0.5  #: how often the outbox is looked at when there was nothing
WEBHOOK_RETRIES_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  #: as Standard Webhooks advises
DISABLE_AFTER_S = 5 * 24 * 3600  #: an endpoint that nothing has reached for so long hears nothing any more
SECRET_OVERLAP_S = 24 * 3600  #: an old secret signs beside the new one so long
EVENTS_KEPT_S = 30 * 24 * 3600  #: events and their deliveries, for a replay
FORGET_INTERVAL_S = 3_600.0  #: how often they are forgotten; nothing waits for it
