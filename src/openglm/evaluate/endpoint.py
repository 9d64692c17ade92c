"""An OpenAI-compatible endpoint for completions, as evaluations ask it: ours or anybody's, one answer a request.

Busy or failing servers are asked again, as long as they say or a little longer each time; what will not get better is
refused with the server's own words.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from openglm.bounds import ANSWER_TIMEOUT_S, ASKED_AGAIN_MAX, ASKED_AGAIN_S
from openglm.errors import Refused

BETTER_LATER = frozenset({408, 409, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind a base URL that ends before `/completions`."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """No other scheme: urllib would read files, too."""
        if not self.url.startswith(("http://", "https://")):
            raise Refused(f"url: {self.url} is no address of a server", hint="Give one as http://127.0.0.1:8080/v1.")

    def complete(self, prompt: str, **fields: Any) -> str:
        """The text that follows a prompt; `fields` as the API has them.

        Raises:
            Refused: the server says no, says nothing, or says something else than a completion.
        """
        body = json.dumps({"model": self.model, "prompt": prompt, **fields}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url.rstrip('/')}/completions", body, headers)  # noqa: S310 - see above
        for left in reversed(range(ASKED_AGAIN_MAX)):
            wait = ASKED_AGAIN_S * 2 ** (ASKED_AGAIN_MAX - 1 - left)
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - see above
                    return _text(answer.read())
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace").strip()
                if error.code not in BETTER_LATER or not left:
                    raise Refused(
                        f"{self.url}: status {error.code}, {said[:500]}", hint="Check url, key and model."
                    ) from None
                asked = error.headers.get("retry-after", "")
                wait = min(ANSWER_TIMEOUT_S, float(asked)) if asked.isdigit() else wait
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise Refused(
                        f"{self.url}: {error}", hint="Does the server run, and is this its address?"
                    ) from None
            time.sleep(wait)
        raise AssertionError("the last round returns or raises")


def _text(body: bytes) -> str:
    try:
        return str(json.loads(body)["choices"][0]["text"])
    except (ValueError, LookupError, TypeError):
        raise Refused(
            f"url: it answered {body[:200]!r}, which is no completion", hint="Name an OpenAI-compatible server."
        ) from None
