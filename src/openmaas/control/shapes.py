"""The bodies that the management API takes and gives. Amounts are decimal text in currency units, so that no client
rounds them; times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from openmaas.core.bounds import (
    AGENT_PROMPT_LENGTH_MAX,
    AGENT_VALUE_LENGTH_MAX,
    AGENT_VARIABLES_MAX,
    BANDS_MAX,
    CONTEXT_TOKENS_MAX,
    FALLBACKS_MAX,
    KEY_MODELS_MAX,
    LIMIT_AMOUNT_MAX,
    PAGE_SIZE_MAX,
    RESPONSES_DAYS_MAX,
    TEXT_BYTES_MAX,
    TUNING_PROCESSES_MAX,
    WEIGHT_MAX,
)
from openmaas.identity.book import SCOPES

#: Something that can be seen, on one line: a name of blanks or with a NUL could not be told from another in a list.
Name = Annotated[
    str, Field(max_length=TEXT_BYTES_MAX, pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")
]
#: What every database and every writer of JSON takes: a text without NUL and without halves of a pair.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
ModelName = Annotated[str, Field(min_length=1, max_length=TEXT_BYTES_MAX, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]
Amount = Annotated[str, Field(description="Decimal number in currency units", examples=["12.50"], max_length=32)]
_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]

#: Of a field whose value is never told again.
SECRET: dict[str, JsonValue] = {"writeOnly": True}

#: A row's number as a cursor: what a column of 64 bits holds.
After = Annotated[int, Query(ge=0, le=2**63 - 1)]
#: Rows of a page.
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]
_TEXT_OR_NULL = {"type": ["string", "null"]}
#: What any route may answer in place of what it promises.
REFUSED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Refused, or failed",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["message"],
                            "properties": {
                                "message": {"type": "string"},
                                "type": {"type": "string"},
                                "param": _TEXT_OR_NULL,
                                "code": _TEXT_OR_NULL,
                            },
                        }
                    },
                }
            }
        },
    }
}


class Shape(BaseModel):
    """A body in which an unknown field is an error that names it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def told(self) -> dict[str, Any]:
        """What was said, for the audit log: without what is secret (in OpenAPI's word: write-only)."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_secrets(type(self)))


def _secrets(kind: type[BaseModel]) -> set[str]:
    return {name for name, field in kind.model_fields.items() if field.json_schema_extra == SECRET}


class NewOrganisation(Shape):
    """An organisation to add."""

    name: Name


class NewProject(Shape):
    """A project to add."""

    organisation_id: Name
    name: Name


class Retention(Shape):
    """For how many days a project keeps answers: 0 for none, null for as many as the setting says."""

    responses_days: int | None = Field(ge=0, le=RESPONSES_DAYS_MAX)


class NewKey(Shape):
    """A key to create."""

    project_id: Name
    name: Name = "key"
    scopes: list[Literal["inference", "usage", "webhooks", "metrics", "admin"]] = Field(
        default=["inference", "usage"], min_length=1, max_length=len(SCOPES)
    )
    models: list[ModelName] | None = Field(
        default=None, max_length=KEY_MODELS_MAX, description="Models it may use; all when absent"
    )
    expires_at: str | None = Field(default=None, description="RFC 3339; never when absent")


class NewModel(Shape):
    """A model to offer."""

    name: ModelName
    task: Literal["generate", "embed", "search", "moderate"] = "generate"
    context_tokens: int = Field(gt=0, le=CONTEXT_TOKENS_MAX)
    output_tokens_default: int = Field(default=1024, ge=0, le=CONTEXT_TOKENS_MAX)
    description: Text = Field(default="", max_length=2_000)
    checkpoint: Text = Field(
        default="", max_length=1_000, description="Folder with the published layout and tokenizer.json: it can be tuned"
    )


class NewTrainer(Shape):
    """What runs the tuning jobs of a model."""

    trainer: Literal["openglm", "ms-swift", "llama-factory"]
    arguments: dict[Name, str | int | float | bool] = Field(
        default={}, max_length=PAGE_SIZE_MAX, description="Options of that trainer, by its own names"
    )
    processes: int = Field(default=1, ge=1, le=TUNING_PROCESSES_MAX, description="That its command starts")


class NewAlias(Shape):
    """Another name of a model; ``*`` at its end stands for any end."""

    pattern: Name
    model: ModelName
    project_id: Text = Field(
        default="", max_length=TEXT_BYTES_MAX, description="For this project alone, and before the names of models"
    )


class NewVariable(Shape):
    """What callers of an agent may say: any text, one of the words, or the id of a file."""

    name: str = Field(max_length=TEXT_BYTES_MAX, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")
    kind: Literal["text", "choice", "file"] = "text"
    default: str = Field(default="", max_length=AGENT_VALUE_LENGTH_MAX)
    words: dict[str, str] = Field(default={}, max_length=PAGE_SIZE_MAX, description="What some values mean to a model")
    said: str = Field(default="{value}", max_length=AGENT_VALUE_LENGTH_MAX, description="The sentence around {value}")


class ChangedAgent(Shape):
    """What is to change about an agent."""

    model: ModelName | None = None
    description: str | None = Field(default=None, max_length=2_000)
    prompt: str | None = Field(
        default=None, max_length=AGENT_PROMPT_LENGTH_MAX, description="With {name} where a variable stands"
    )
    variables: list[NewVariable] | None = Field(default=None, max_length=AGENT_VARIABLES_MAX)
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, gt=0, le=CONTEXT_TOKENS_MAX)
    thinking: bool | None = Field(default=None, description="Whether the model thinks first; as it likes when absent")
    later: bool | None = Field(default=None, description="Callers fetch the answer, as that of an async task")


class NewAgent(ChangedAgent):
    """An agent to offer: a model with a prompt of yours. One that is shipped (general_translation) needs a model."""

    id: ModelName
    model: ModelName


class NewDeployment(Shape):
    """A deployment to start."""

    model: ModelName
    kind: Literal["llama", "embedder", "echo", "search", "moderator", "glm", "openvino", "openai_http"]
    served_name: ModelName | None = None
    weights: Text = Field(
        default="",
        max_length=1_000,
        description="A pulled name, or a path: a .gguf file for llama, a folder for glm, either for openvino",
    )
    url: str = Field(default="", max_length=1_000, pattern="^(https?://.+)?$")
    api_key: str = Field(
        default="",
        max_length=1_000,
        pattern=r"^[!-~]*$",  # it becomes a header line, which another line must not follow
        description="Sent to the url as a bearer token; stored sealed",
        json_schema_extra=SECRET,
    )
    slots: int = Field(default=4, gt=0, le=65_536)
    options: dict[str, str | int | float | bool] = {}


class ChangedDeployment(Shape):
    """What is to change about a deployment."""

    wanted: Literal["running", "stopped"] = "running"
    weight: float = Field(default=1, gt=0, le=WEIGHT_MAX, description="Its speed beside the model's other deployments")
    share_percent: int = Field(
        default=100, ge=0, le=100, description="The most of the model's requests that it gets; 0 drains it"
    )
    region: Text = Field(default="", max_length=TEXT_BYTES_MAX, description="Houses of another use it second")


class NewFallbacks(Shape):
    """The models that stand in for one while no replica of it takes a request, in this order."""

    models: list[ModelName] = Field(max_length=FALLBACKS_MAX, description="None stands in when it is empty")


class NewBand(Shape):
    """Prices of requests from so many prompt and generated tokens on, in currency units per million tokens."""

    input_from: int = Field(default=0, ge=0, le=CONTEXT_TOKENS_MAX, description="Prompt tokens")
    output_from: int = Field(default=0, ge=0, le=CONTEXT_TOKENS_MAX, description="Generated tokens")
    input: Amount
    output: Amount
    cached: Amount | None = Field(default=None, description="Of cached prompt tokens; the input price when absent")
    reasoning: Amount | None = Field(default=None, description="Of tokens spent thinking; the output price when absent")


class NewHours(Shape):
    """Hours of the day with a factor, such as a dearer afternoon."""

    from_: Annotated[str, Field(alias="from", pattern=_CLOCK)]
    until: Annotated[str, Field(pattern=_CLOCK, description="Before `from`: past midnight")]
    zone: Text = Field(max_length=TEXT_BYTES_MAX, examples=["Asia/Shanghai"])
    factor: Amount
    days: list[Annotated[int, Field(ge=0, le=6)]] = Field(default=[], max_length=7, description="0 is Monday")


class NewPrice(Shape):
    """A price version, in currency units per million tokens."""

    model: ModelName
    currency: Annotated[str, Field(pattern="^([A-Z]{3}|credits|tokens)$")] | None = None
    organisation_id: Text = Field(default="", max_length=TEXT_BYTES_MAX, description="A contract; everybody when empty")
    input: Amount = "0"
    output: Amount = "0"
    cached: Amount | None = Field(default=None, description="Of cached prompt tokens; the input price when absent")
    reasoning: Amount | None = Field(default=None, description="Of tokens spent thinking; the output price when absent")
    bands: list[NewBand] = Field(default=[], max_length=BANDS_MAX, description="Above the first, which stands outside")
    units: dict[Literal["call", "character", "image", "second", "storage", "training"], Amount] = Field(
        default={},
        description="For one; character, storage (cached tokens times hours) and training (tokens): for a million",
    )
    hours: list[NewHours] = Field(default=[], max_length=BANDS_MAX)
    batch: Amount = Field(default="0.5", description="Factor on what a batch uses")
    from_time: str | None = Field(default=None, description="RFC 3339; now when absent")
    until_time: str | None = Field(default=None, description="RFC 3339; until a newer version when absent")
    memo: Text = Field(default="", max_length=500)


class NewTopUp(Shape):
    """Money that came in."""

    amount: Amount
    currency: Currency | None = None
    request_key: Name = Field(description="Your own id of the payment: the same one twice is booked once")
    memo: Text = Field(default="", max_length=500)


class NewLimit(Shape):
    """A limit to set; the same scope, subject, model and kind again changes its amount."""

    scope: Literal["default", "organisation", "project", "key"] = "organisation"
    subject_id: Text = Field(
        default="", max_length=TEXT_BYTES_MAX, description="Of the organisation, project or key; empty for the default"
    )
    model: Annotated[str, Field(max_length=TEXT_BYTES_MAX, pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._:/-]*)$")] = Field(
        default="*", description="`*` counts all models together"
    )
    kind: Literal["concurrency", "rpm", "tpm", "weight", "priority"]
    amount: int = Field(
        ge=1, le=LIMIT_AMOUNT_MAX, description="Requests in flight; requests or tokens a minute; 1 of a priority"
    )
