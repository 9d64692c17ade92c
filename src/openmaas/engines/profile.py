"""How a model is run fastest on a machine, as ``openmaas sweep`` found it and ``openmaas models offer`` deploys it."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.engines.spec import Option


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is run: ``processes`` engines of ``kind`` with ``weights`` (a name, or a path), each with so many
    ``threads`` and ``slots``."""

    kind: str
    weights: str
    threads: int
    slots: int
    batch: int | None = None
    processes: int = 1

    def options(self) -> dict[str, Option]:
        """As a deployment has them."""
        found: dict[str, Option] = {"threads": self.threads}
        return found if self.batch is None else {**found, "batch": self.batch}

    def __str__(self) -> str:
        """For who watches."""
        batch = "" if self.batch is None else f", batch {self.batch}"
        many = f"{self.processes} × " if self.processes > 1 else ""
        return f"{many}{self.kind} {Path(self.weights).name}, threads {self.threads}, slots {self.slots}{batch}"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: clients at once → tokens a second, all answers together."""

    setting: Setting
    tokens_per_s: dict[int, float]

    @property
    def score(self) -> float:
        """The geometric mean under all loads: neither one client nor a crowd decides alone."""
        return math.exp(sum(math.log(each) for each in self.tokens_per_s.values()) / len(self.tokens_per_s))


class DeploymentProfile(msgspec.Struct, frozen=True, kw_only=True):
    """``best`` of all ``rows``, each measured on ``machine`` with slots of ``context`` tokens."""

    machine: str
    context: int
    best: Setting
    best_by_clients: dict[int, Setting]
    rows: list[Row]


def read_profile(path: Path) -> DeploymentProfile:
    """A profile as ``openmaas sweep`` wrote it. Raises ``FieldInvalid``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=DeploymentProfile)
    except OSError as error:
        raise FieldInvalid(f"profile {path}: {error.strerror}", field="profile") from None
    except msgspec.MsgspecError as error:
        raise FieldInvalid(f"profile {path} is none that `openmaas sweep` wrote: {error}", field="profile") from None
