"""How Zhipu's console says no: in its envelope, for the tools that read quotas, and beside it as everywhere else.

Zhipu's own answers 200 to everything and says in ``success`` what it means. Tools read both, so the status stays true.
"""

from __future__ import annotations

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.dialects.zhipu.dialect import Zhipu
from openmaas.dialects.zhipu.errors import told


class Console(Zhipu):
    """Zhipu's dialect on the pages of its console."""

    def refusal(self, error: OpenmaasError, language: str, request_id: str) -> tuple[int, bytes, bytes]:
        """See ``Dialect``."""
        status, headers, _ = super().refusal(error, language, request_id)
        said = told(error, language, self._clock)
        envelope = {"code": int(said["code"] or 0), "msg": said["message"], "success": False}
        return status, headers, msgspec.json.encode({**envelope, "error": said})
