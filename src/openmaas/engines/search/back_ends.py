"""Which back ends there are: the option that says where one looks is the one that chooses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.engines.search.folder import Folder
from openmaas.engines.search.query import BackEnd
from openmaas.engines.search.searxng import PASSED_ON, Searxng
from openmaas.engines.spec import Option, check_options

BACK_ENDS: dict[str, Callable[[Mapping[str, Option], Clock], BackEnd]] = {"searxng": Searxng, "folder": Folder}


def back_end(options: Mapping[str, Option], clock: Clock) -> BackEnd:
    """The back end that ``options`` name. Raises ``FieldInvalid``."""
    check_options("search", options)
    chosen = [name for name in BACK_ENDS if options.get(name)]
    if len(chosen) != 1:
        raise FieldInvalid(f"options must have one of {', '.join(BACK_ENDS)}", field="options")
    if chosen != ["searxng"] and (more := [name for name in PASSED_ON if name in options]):
        raise FieldInvalid(f"options.{more[0]} belongs to searxng", field=f"options.{more[0]}")
    return BACK_ENDS[chosen[0]](options, clock)
