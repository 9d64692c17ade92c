"""Vendors that are sloppy or hostile, as ``openai_http`` deployments: whatever they answer, the customer pays what
docs/ledger.md says, seat and hold come back, and the books agree at the end.

``vendor.py`` has the ways of the vendor; a model is called as the way it is answered in.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation
from official import faults
from openmaas.core.bounds import TEMPLATE_TOKENS
from raw import Raw
from vendor import OPTIONS, WAYS, WORDS, Vendor

MILLION = Decimal(10) ** 6


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """The vendor, serving."""
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def house(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house that sells every way of the vendor; a customer may have one request in flight."""
    made = Installation(tmp_path_factory.mktemp("vendors") / "data", seats_per_organisation="1")
    made.start()
    url = f"http://127.0.0.1:{vendor.server_address[1]}/v1"
    for model in WAYS:
        for path, body in (
            ("/models", {"name": model, "context_tokens": 1_000, "output_tokens_default": 100}),
            ("/prices", {"model": model, "input": "1", "output": "2"}),
            (
                "/deployments",
                {"model": model, "kind": "openai_http", "url": url, "options": OPTIONS.get(model, {})},
            ),
        ):
            assert made.admin("POST", path, body)[0] == 201
    made.ready(*WAYS)
    yield made
    made.end()


@pytest.fixture(scope="module")
def balances(house: Installation) -> Iterator[dict[str, Decimal]]:
    """What each customer must have left, seen at the end: then one wait for idle leases is enough for all."""
    expected: dict[str, Decimal] = {}
    yield expected
    assert {customer: house.settled(customer) for customer in expected} == expected


class Customer:
    """Somebody with one unit of money and one seat."""

    def __init__(self, house: Installation, balances: dict[str, Decimal]) -> None:
        self.house = house
        self.id, self.key = house.organisation("1")
        self._balances = balances

    def ask(self, model: str, *, stream: bool, **more: Any) -> tuple[int, bytes, dict[str, Any], int]:
        """One request: status, body, receipt, and how many bytes were sent."""
        asked = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": stream, **more}
        body = json.dumps(asked)
        status, headers, told = self.house.ask("POST", "/v1/chat/completions", body.encode(), key=self.key)
        return status, told, self.house.receipt(headers["x-request-id"], "posted", key=self.key), len(body)

    def has_the_rest_back(self, receipt: dict[str, Any]) -> None:
        """Seat and hold are there again, and nothing but what the tokens cost is gone."""
        assert Decimal(receipt["amount"]) * MILLION == receipt["prompt_tokens"] + 2 * receipt["completion_tokens"]
        self.has_paid(Decimal(receipt["amount"]))

    def has_paid(self, amount: Decimal) -> None:
        """Seat and hold are there again, and nothing but ``amount`` is gone."""
        status, _, again, _ = self.ask("polite", stream=False)
        assert status == 200  # or the only seat is still taken
        self._balances[self.id] = 1 - amount - Decimal(again["amount"])


@pytest.fixture
def customer(house: Installation, balances: dict[str, Decimal]) -> Customer:
    """A new customer of the house."""
    return Customer(house, balances)


def counts(receipt: dict[str, Any]) -> tuple[str, int, int, bool]:
    """How it ended, tokens in and out, and whether they are an estimate."""
    return receipt["outcome"], receipt["prompt_tokens"], receipt["completion_tokens"], receipt["estimated"]


@pytest.mark.parametrize("model", ["ends_lines_its_own_way", "counts_in_every_event"])
def test_a_sloppy_stream_is_billed_by_the_vendor_s_last_count(customer: Customer, model: str) -> None:
    status, told, receipt, _ = customer.ask(model, stream=True)
    assert status == 200
    assert told.count(b'"word"') >= WORDS
    assert told.endswith(b"data: [DONE]\n\n")
    assert b"\r" not in told
    assert counts(receipt) == ("done", 7, 5, False)
    customer.has_the_rest_back(receipt)


def test_a_stream_that_breaks_behind_its_last_word_is_whole(customer: Customer) -> None:
    """Or it would be billed as the vendor counted it, and what came with its last word would not have been sent."""
    status, told, receipt, _ = customer.ask("ends_and_breaks_off", stream=True)
    assert status == 200
    assert told.count(b'"word"') == WORDS
    assert told.endswith(b"data: [DONE]\n\n")
    assert counts(receipt) == ("done", 7, 5, False)
    customer.has_the_rest_back(receipt)


def test_a_vendor_that_counts_nothing_is_billed_by_what_was_delivered(customer: Customer) -> None:
    status, told, receipt, size = customer.ask("counts_nothing", stream=True)
    assert status == 200
    assert told.endswith(b"data: [DONE]\n\n")
    assert counts(receipt) == ("done", size // 4, WORDS, True)
    customer.has_the_rest_back(receipt)


def test_a_whole_answer_without_a_count_is_billed_by_the_length_of_what_it_says(customer: Customer) -> None:
    status, told, receipt, size = customer.ask("counts_nothing", stream=False)
    assert status == 200
    said = json.loads(told)["choices"][0]["message"]["content"]
    assert counts(receipt) == ("done", size // 4, len(said) // 4, True)
    customer.has_the_rest_back(receipt)


def test_a_guess_is_never_more_than_the_caller_asked_for(customer: Customer) -> None:
    _, _, receipt, size = customer.ask("counts_nothing", stream=False, max_tokens=1)
    assert counts(receipt) == ("done", size // 4, 1, True)
    customer.has_the_rest_back(receipt)


@pytest.mark.parametrize(
    "model", ["frames_wrongly", "breaks_off", "finishes_and_breaks_off", "finishes_in_a_word_and_breaks_off"]
)
def test_a_stream_that_breaks_costs_what_was_delivered_and_says_so(customer: Customer, model: str) -> None:
    status, told, receipt, size = customer.ask(model, stream=True)
    assert status == 200
    assert told.count(b'"word"') == WORDS
    assert b"[DONE]" not in told
    assert json.loads(told.split(b"\n\n")[-2][6:])["error"]["code"] == "engine_failed"
    assert counts(receipt) == ("engine_failed", size // 4, WORDS, True)
    customer.has_the_rest_back(receipt)


def test_a_stream_that_breaks_after_a_count_costs_that_count(customer: Customer) -> None:
    _, told, receipt, _ = customer.ask("counts_and_breaks_off", stream=True)
    assert b"engine_failed" in told
    assert counts(receipt) == ("engine_failed", 7, 3, False)
    customer.has_the_rest_back(receipt)


def test_a_stream_that_breaks_before_its_first_event_is_an_error_and_costs_nothing(customer: Customer) -> None:
    status, told, receipt, _ = customer.ask("breaks_off_at_once", stream=True)
    assert (status, json.loads(told)["error"]["code"]) == (502, "engine_failed")
    assert counts(receipt)[:3] == ("engine_failed", 0, 0)
    customer.has_the_rest_back(receipt)


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_calls_itself_a_success_costs_nothing(customer: Customer, stream: bool) -> None:
    status, told, receipt, _ = customer.ask("errs_with_200", stream=stream)
    assert status == (200 if stream else 502)  # a stream had begun
    assert b"out of sorts" in told
    assert counts(receipt)[1:3] == (0, 0)
    customer.has_the_rest_back(receipt)


TOOLS = {
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ]
}


def called(told: bytes, *, stream: bool) -> tuple[str, str, str, dict[str, Any]]:
    """Words, thoughts, reason of the end, and the one call, of an answer that is as OpenAI's document says."""
    if not stream:
        answer = json.loads(told)
        assert not faults("openai", "CreateChatCompletionResponse", answer)
        (choice,) = answer["choices"]
        message, reason = choice["message"], choice["finish_reason"]
        (call,) = message["tool_calls"]
        text, thought = message["content"] or "", message.get("reasoning_content", "")
        return text, thought, reason, {"name": call["function"]["name"], **json.loads(call["function"]["arguments"])}
    chunks = [json.loads(line[6:]) for line in told.split(b"\n\n") if line.startswith(b"data: {")]
    assert not [fault for chunk in chunks for fault in faults("openai", "CreateChatCompletionStreamResponse", chunk)]
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    arguments = "".join(call["function"]["arguments"] for call in calls)
    (name,) = (call["function"]["name"] for call in calls if "name" in call["function"])
    text, thought = (
        "".join(delta.get(member) or "" for delta in deltas) for member in ("content", "reasoning_content")
    )
    return text, thought, choices[-1]["finish_reason"], {"name": name, **json.loads(arguments)}


@pytest.mark.parametrize("stream", [False, True])
def test_calls_that_a_model_writes_as_text_reach_the_caller_as_calls(customer: Customer, stream: bool) -> None:
    status, told, receipt, _ = customer.ask("writes_calls_as_text", stream=stream, **TOOLS)
    assert status == 200, told
    assert called(told, stream=stream) == ("It is", "which city", "tool_calls", {"name": "weather", "city": "Paris"})
    assert counts(receipt) == ("done", 7, 5, False)
    customer.has_the_rest_back(receipt)


@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_call_comes_from_a_vendor_that_ignores_tool_choice(customer: Customer, stream: bool) -> None:
    status, told, receipt, _ = customer.ask("answers_by_schema", stream=stream, tool_choice="required", **TOOLS)
    assert status == 200, told
    assert called(told, stream=stream) == ("", "", "tool_calls", {"name": "weather", "city": "Paris"})
    customer.has_the_rest_back(receipt)


def test_where_no_call_is_demanded_the_answer_of_such_a_vendor_passes_as_it_is(customer: Customer) -> None:
    _, told, receipt, _ = customer.ask("answers_by_schema", stream=False, **TOOLS)
    assert b"I would rather talk." in told
    customer.has_the_rest_back(receipt)


@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_call_that_does_not_come_is_an_error_and_what_was_generated_is_billed(
    customer: Customer, stream: bool
) -> None:
    status, told, receipt, _ = customer.ask("only_talks", stream=stream, tool_choice="required", **TOOLS)
    assert status == 502 or stream
    assert b"tool_call_missing" in told
    assert counts(receipt)[1:3] == (7, 5)
    customer.has_the_rest_back(receipt)


def test_a_vendor_that_sends_a_head_and_stalls_costs_nobody_who_leaves(customer: Customer, vendor: Vendor) -> None:
    with Raw(customer.house) as client:
        client.ask(
            "POST", "/v1/chat/completions", {"model": "stalls", "messages": [], "stream": True}, key=customer.key
        )
        while "stalls" not in vendor.asked:
            assert not client.waiting(0.01)
    receipt = only(customer)
    assert counts(receipt)[:3] == ("client_closed", 0, 0)
    customer.has_the_rest_back(receipt)


def test_who_leaves_a_vendor_that_goes_on_pays_for_nothing_that_came_later(customer: Customer, vendor: Vendor) -> None:
    with Raw(customer.house) as client:
        client.ask(
            "POST", "/v1/chat/completions", {"model": "is_deaf", "messages": [], "stream": True}, key=customer.key
        )
        client.until(b'"word"', 20)
        assert client.pull()
        delivered = client.seen.count(b'"word"')
    assert vendor.cut.wait(10), "the vendor was left to generate for nobody"
    receipt = only(customer)
    assert (receipt["outcome"], receipt["estimated"]) == ("client_closed", True)
    assert delivered <= receipt["completion_tokens"] < vendor.written
    customer.has_the_rest_back(receipt)


def only(customer: Customer) -> dict[str, Any]:
    """The receipt of the customer's only request, once it is posted."""
    deadline = time.monotonic() + 20
    while not (rows := customer.house.admin("GET", f"/receipts?organisation_id={customer.id}")[1]["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (found,) = rows
    return dict(found)


def test_a_count_above_the_hold_is_the_operator_s_loss(customer: Customer, vendor: Vendor) -> None:
    status, _, receipt, size = customer.ask("overcharges", stream=False)
    assert status == 200
    assert vendor.asked["overcharges"]["max_tokens"] == 100  # the model's default is its cap, if nobody asks for one
    assert round(Decimal(receipt["amount"]) * MILLION) == size + TEMPLATE_TOKENS + 2 * 100
    customer.has_paid(Decimal(receipt["amount"]))


def test_prompts_of_token_ids_go_out_as_they_are(house: Installation, customer: Customer, vendor: Vendor) -> None:
    body = {"model": "completes", "prompt": [[1, 2, 3], [4, 5]], "n": 2, "max_tokens": 9}
    status, headers, _ = house.ask("POST", "/v1/completions", body, key=customer.key)
    assert status == 200
    assert vendor.asked["completes"] == body
    receipt = house.receipt(headers["x-request-id"], "posted", key=customer.key)
    assert counts(receipt) == ("done", 7, 5, False)
    customer.has_the_rest_back(receipt)


def test_money_for_two_choices_is_not_enough_for_four(house: Installation) -> None:
    _, key = house.organisation("0.003")  # a choice of 500 tokens costs 0.001, and the prompts less than that
    body = {"model": "completes", "prompt": [[1, 2, 3], [4, 5]], "n": 2, "max_tokens": 500}
    status, _, told = house.ask("POST", "/v1/completions", body, key=key)
    assert (status, json.loads(told)["error"]["code"]) == (429, "insufficient_quota")
