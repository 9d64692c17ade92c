"""What is wanted of a job and how far it is, by kind: written by whoever enqueues it, read by whoever does it."""

from __future__ import annotations

from typing import Literal

import msgspec

#: Which path of the relay answers the url of a batch's line. Where a dialect gets a path of its own, change it here.
TARGETS = {
    "/v1/chat/completions": "/v1/chat/completions",
    "/v1/completions": "/v1/completions",
    "/v1/embeddings": "/v1/embeddings",
    "/v1/moderations": "/v1/moderations",
    "/v1/responses": "/v1/responses",
    "/v4/chat/completions": "/api/paas/v4/chat/completions",
    "/v4/embeddings": "/api/paas/v4/embeddings",
    "/v1/messages": "/api/anthropic/v1/messages",
}


def kind_of(url: str) -> str:
    """What a line's URL asks for, whichever version it names: ``/v4/embeddings`` and ``/v1/embeddings`` are one. Empty
    for what no batch asks."""
    return url.split("/", 2)[2] if url in TARGETS else ""


#: The same for Zhipu's async tasks.
TASK_TARGET = "/api/paas/v4/chat/completions"
#: Kinds of jobs; an id begins with its kind.
BATCH, MESSAGE_BATCH, TASK, AGENT = "batch", "msgbatch", "task", "agent"
TUNING, EMBEDDING = "ftjob", "embedding"
#: Of these, those that may find no worker: until one has begun, whoever cancels ends them.
PATIENT = frozenset({TUNING})
#: Purposes of files that a message batch has for itself; lists of files leave them out.
MESSAGE_INPUT, MESSAGE_OUTPUT = "msgbatch_input", "msgbatch_output"

Form = Literal["openai", "zhipu", "anthropic"]
#: How a model is tuned.
Method = Literal["supervised", "dpo"]


class BatchWanted(msgspec.Struct, frozen=True):
    """Lines of a file, each to be asked at ``endpoint``; answers in the shapes of ``form``."""

    form: Form
    endpoint: str
    input_file_id: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    output_expires_s: int | None = None
    deletes_input: bool = False


class Mistake(msgspec.Struct, frozen=True):
    """What is wrong with an input, or with the whole; ``line`` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchProgress(msgspec.Struct):
    """How far a batch is. Lines that nobody asked for because it ended before are ``cancelled`` or ``expired``."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    begun_ms: int | None = None  # its input is valid
    finalizing_ms: int | None = None  # every line has its answer or error
    output_file_id: str | None = None
    error_file_id: str | None = None
    mistakes: list[Mistake] = []


class TaskWanted(msgspec.Struct, frozen=True):
    """One request, to be asked at ``target``; ``body`` is its JSON, ``request_id`` the caller's own name of it,
    ``agent_id`` the agent that it is for."""

    target: str
    model: str
    request_id: str
    body: str
    agent_id: str = ""


class TaskProgress(msgspec.Struct):
    """What came of it: the answer or the error, as JSON, with its status; 0 while there is none."""

    status: int = 0
    answer: str = ""


class TuningWanted(msgspec.Struct, frozen=True):
    """A model to be made of ``model`` by the examples of a file. What ``hyperparameters`` lack, a trainer chooses."""

    form: Form
    model: str
    training_file: str
    validation_file: str | None
    examples: int  # of the training file
    method: Method
    hyperparameters: dict[str, int | float]
    seed: int
    suffix: str | None
    metadata: dict[str, str] | None
    request_id: str  # the caller's own name of it; empty without one


class EmbeddingWanted(msgspec.Struct, frozen=True):
    """The vectors of a document, by ``model``."""

    document_id: str
    model: str


class EmbeddingProgress(msgspec.Struct):
    """How many of a document's chunks have their vector; ``chunks`` 0 before it is cut."""

    chunks: int = 0
    embedded: int = 0


def text(value: msgspec.Struct) -> str:
    """As it stands in the book."""
    return msgspec.json.encode(value).decode()
