"""Moderations behind the real OpenAI SDK."""

from __future__ import annotations

import openai
import pytest

from installation import Installation
from searching import attach


def test_texts_are_flagged_and_a_picture_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("moderations")
    (folder / "words.txt").write_text("[violence]\n炸药\nbomb\n", "utf-8")
    house = Installation(folder / "data")
    house.start()
    attach(house, "moderation", "moderate", "moderator", {"words": folder / "words.txt"}, "0.0012")
    house.ready("moderation")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key=house.key, max_retries=0) as client:
        answer = client.moderations.with_raw_response.create(model="moderation", input=["a bomb", "a day", "炸药"])
        found = answer.parse()
        assert [row.flagged for row in found.results] == [True, False, True]
        assert [row.categories.violence for row in found.results] == [True, False, True]
        assert (found.results[0].category_scores.violence, found.results[0].categories.self_harm) == (1.0, False)
        assert house.receipt(answer.headers["x-request-id"], "posted")["amount"] == "0.0036"
        picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        with pytest.raises(openai.BadRequestError) as refused:
            client.moderations.create(model="moderation", input=[picture])
        assert refused.value.param == "input[0].type"
    house.end()
