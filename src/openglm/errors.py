"""How openglm says no: one class, whose message names what is wrong and what to do next.

It knows nothing of models or files; every floor above raises it. A programming mistake is an ``AssertionError``.
"""

from __future__ import annotations


class Refused(ValueError):  # noqa: N818 - it is named for what happened, as openmaas's errors are
    """What was given cannot be used.

    ``what`` names the field, tensor or file and what is wrong with it; ``hint`` is the next step.
    """

    def __init__(self, what: str, *, hint: str) -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what.rstrip('.')}. {hint}")
