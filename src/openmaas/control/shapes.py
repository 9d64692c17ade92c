"""The bodies that the management API takes and gives. Amounts are decimal text in currency units, so that no client
rounds them; times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from openmaas.core.bounds import TEXT_BYTES_MAX

Name = Annotated[str, Field(min_length=1, max_length=TEXT_BYTES_MAX)]
ModelName = Annotated[str, Field(min_length=1, max_length=TEXT_BYTES_MAX, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]
Amount = Annotated[str, Field(description="Decimal number in currency units", examples=["12.50"], max_length=32)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class Shape(BaseModel):
    """A body in which an unknown field is an error that names it."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewOrganisation(Shape):
    """An organisation to add."""

    name: Name


class NewProject(Shape):
    """A project to add."""

    organisation_id: Name
    name: Name


class NewKey(Shape):
    """A key to create."""

    project_id: Name
    name: Name = "key"
    scopes: list[Literal["inference", "usage", "admin"]] = ["inference", "usage"]
    models: list[ModelName] | None = Field(default=None, description="Models it may use; all when absent")
    expires_at: str | None = Field(default=None, description="RFC 3339; never when absent")


class NewModel(Shape):
    """A model to offer."""

    name: ModelName
    task: Literal["generate", "embed"] = "generate"
    context_tokens: int = Field(gt=0, le=100_000_000)
    output_tokens_default: int = Field(default=1024, ge=0)
    description: str = Field(default="", max_length=2_000)


class NewDeployment(Shape):
    """A deployment to start."""

    model: ModelName
    kind: Literal["llama", "embedder", "echo", "openai_http"]
    served_name: ModelName | None = None
    weights: str = Field(default="", max_length=1_000, description="A pulled name or a .gguf path, for llama")
    url: str = Field(default="", max_length=1_000, pattern="^(https?://.+)?$")
    api_key: str = Field(default="", max_length=1_000, description="Sent to the url as a bearer token; stored sealed")
    slots: int = Field(default=4, gt=0, le=65_536)
    options: dict[str, str | int | float | bool] = {}


class Wanted(Shape):
    """What a deployment shall do."""

    wanted: Literal["running", "stopped"]


class NewPrice(Shape):
    """A price version, in currency units per million tokens."""

    model: ModelName
    currency: Currency | None = None
    input: Amount
    output: Amount
    cached: Amount | None = Field(default=None, description="Of cached prompt tokens; the input price when absent")
    from_time: str | None = Field(default=None, description="RFC 3339; now when absent")


class NewTopUp(Shape):
    """Money that came in."""

    amount: Amount
    currency: Currency | None = None
    request_key: Name = Field(description="Your own id of the payment: the same one twice is booked once")
    memo: str = Field(default="", max_length=500)
