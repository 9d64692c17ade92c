"""``openmaas chat``: a conversation in the terminal, with what it cost at the end."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from openmaas.cli.say import AS_JSON, plainly, show
from openmaas.core.bounds import FIRST_BYTE_TIMEOUT_S
from openmaas.core.errors import Failed, FieldInvalid, KeyMissing, Refused


@click.command()
@click.argument("message", required=False)
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, envvar="OPENMAAS_URL", help="The server.")
@click.option("--key", envvar="OPENMAAS_KEY", help="API key; or the environment variable OPENMAAS_KEY.")
@click.option("--model", help="Model; the first one of the server that chats when not named.")
@click.option("--max-tokens", type=click.IntRange(1), help="Most tokens of an answer.")
@AS_JSON
@plainly
def chat(
    message: str | None, url: str, key: str | None, model: str | None, max_tokens: int | None, as_json: bool
) -> None:
    """Talk to a model. With MESSAGE: one answer; without: a conversation until ^D."""
    if not key:
        raise KeyMissing("name it with --key or OPENMAAS_KEY; `openmaas keys create` makes one")
    server = Server(url, key)
    name = model or server.first_model()
    history: list[dict[str, str]] = []
    for said in [message] if message else _prompts(name):
        history.append({"role": "user", "content": said})
        words: list[str] = []
        stopped = False
        try:
            for word in server.stream(name, history, max_tokens):
                words.append(word)
                if not as_json:
                    click.echo(word, nl=False)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            stopped = True
            server.leave()  # the engine stops, and what it made until then is the cost
        history.append({"role": "assistant", "content": "".join(words)})
        receipt = server.receipt()
        if as_json:
            show({"answer": history[-1]["content"], "receipt": receipt}, as_json=True)
        else:
            click.echo(f"\n\n{_cost(receipt)}\n", err=True)
        if stopped and message:
            sys.exit(130)


def _prompts(name: str) -> Iterator[str]:
    click.echo(f"{name}; ^D ends", err=True)
    while True:
        try:
            said = click.prompt("›", prompt_suffix=" ", err=True)
        except click.Abort:
            click.echo("", err=True)
            return
        yield said


def _cost(receipt: dict[str, Any]) -> str:
    prompt, cached = receipt["prompt_tokens"], receipt["cached_tokens"]
    return (
        f"{prompt} tokens in ({cached} cached), {receipt['completion_tokens']} out: "
        f"{receipt['amount']} {receipt['currency']}"
    )


class Server:
    """A chat server as the OpenAI wire has it."""

    def __init__(self, url: str, key: str) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise FieldInvalid("--url must be such as http://127.0.0.1:8080", field="url")
        self._path = self._url.path.rstrip("/").removesuffix("/v1")  # SDKs want it with /v1, so do people
        self._key = key
        self._request_id = ""
        self._answer: http.client.HTTPResponse | None = None

    def first_model(self) -> str:
        """The first model that the key may use and that chats: some embed, or only continue a text."""
        found = [str(each["id"]) for each in self._read("GET", "/v1/models")["data"]]
        if not found:
            raise FieldInvalid("this key may use no model", field="model")
        return next(filter(self._chats, found), found[0])

    def _chats(self, model: str) -> bool:
        """Whether it reads a conversation, which costs nothing to ask."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        try:
            self._ask("POST", "/api/anthropic/v1/messages/count_tokens", body).read()
        except Refused:
            return False
        return True

    def stream(self, model: str, messages: list[dict[str, str]], max_tokens: int | None) -> Iterator[str]:
        """The words of an answer as they come."""
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
        if max_tokens:
            body["max_tokens"] = max_tokens
        answer = self._ask("POST", "/v1/chat/completions", body)
        self._request_id = answer.getheader("x-request-id") or ""
        self._answer = answer
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise Failed(event["error"]["message"])
            for choice in event["choices"]:
                yield choice["delta"].get("content") or ""

    def leave(self) -> None:
        """Take no more of the last answer."""
        if self._answer is not None:
            self._answer.close()

    def receipt(self) -> dict[str, Any]:
        """What the last answer cost; of one that was left, as soon as the server knows."""
        if not self._request_id:
            raise Failed("the server did not say which request it was; is it an openmaas?")
        for wait_s in (0.05, 0.1, 0.2, 0.4, 0.8):
            try:
                found: dict[str, Any] = self._read("GET", f"/v1/receipts/{self._request_id}")
            except Refused:
                time.sleep(wait_s)
            else:
                return found
        raise Failed(f"there is no receipt of {self._request_id} yet; GET /v1/receipts/{self._request_id} will have it")

    def _read(self, method: str, path: str) -> Any:
        try:
            return json.loads(self._ask(method, path).read())
        except ValueError:
            raise Failed(f"{self._url.geturl()} does not speak JSON; is it an openmaas?") from None

    def _ask(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=FIRST_BYTE_TIMEOUT_S)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        try:
            connection.request(method, self._path + path, body and json.dumps(body), headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{self._url.geturl()} does not answer ({error}); is `openmaas serve` running?") from None
        if answer.status >= 400:
            try:
                told = str(json.loads(answer.read())["error"]["message"])
            except (ValueError, KeyError, TypeError):
                raise Failed(f"{self._url.geturl()} answered {answer.status}; is it an openmaas?") from None
            raise (Refused if answer.status < 500 else Failed)(told)
        return answer
