"""What a user of Zhipu's SDKs does, run in an environment of the SDK's own: ``zhipu_script.py SDK BASE_URL KEY``.

It prints one JSON object of what came of it. zai-sdk and zhipuai cannot stand in one environment, nor in ours.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

sdk, base, key = sys.argv[1:]
make: Any = importlib.import_module(sdk).ZhipuAiClient if sdk == "zai" else importlib.import_module(sdk).ZhipuAI
hi = [{"role": "user", "content": "one two three"}]
tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
told: dict[str, Any] = {}

for form, plain in (("key", True), ("token", False)):
    client = make(api_key=key, base_url=base, disable_token_cache=plain, max_retries=0)
    whole = client.chat.completions.create(model="echo", messages=hi, temperature=0)
    chunks = list(client.chat.completions.create(model="echo", messages=hi, stream=True))
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    told[form] = [whole.choices[0].message.content == words, whole.usage.total_tokens, chunks[-1].usage.total_tokens]
called = client.chat.completions.create(model="echo", messages=hi, tools=[tool], tool_choice="required")
told["call"] = called.choices[0].message.tool_calls[0].function.name
told["vector"] = len(client.embeddings.create(model="echo", input="hi").data[0].embedding)
told["task"] = client.chat.asyncCompletions.create(model="echo", messages=hi).task_status
found = client.web_search.web_search(search_engine="search_std", search_query="glm", count=2, search_intent=True)
told["pages"] = [page.link for page in found.search_result]
said = [{"role": "user", "content": "glm"}]
calls = client.tools.web_search(model="search_std", messages=said, stream=False).choices[0].message.tool_calls
told["tools"] = [call.type for call in calls]
told["chunks"] = [
    call.type
    for chunk in client.tools.web_search(model="search_std", messages=said, stream=True)
    for call in chunk.choices[0].delta.tool_calls or []
]
judged = client.moderations.create(model="moderation", input=["hi", "加微信"])
told["risks"] = [row["risk_level"] for row in judged.result_list]
tool = {"type": "web_search", "web_search": {"search_engine": "search_std", "search_result": True}}
whole = client.chat.completions.create(model="echo", messages=said, tools=[tool])
chunks = list(client.chat.completions.create(model="echo", messages=said, tools=[tool], stream=True))
told["found"] = [each.web_search[0]["link"] for each in (whole, chunks[-1])]
asked = {"agent_id": "general_translation", "messages": hi, "custom_variables": {"target_lang": "en"}}
whole = client.agents.invoke(**asked)
chunks = list(client.agents.invoke(**asked, stream=True))
words = "".join(chunk.choices[0].delta.content["text"] for chunk in chunks)
told["agent"] = [
    whole.status,
    whole.choices[0].message.content["text"] == words,
    chunks[-1].usage.total_tokens > 19,
]
if sdk == "zhipuai":  # the newer SDK has no knowledge
    base_made = client.knowledge.create(embedding_id=11, name="库", extra_body={"embedding_model": "echo"})
    uploaded = client.knowledge.document.create(
        file=("faq.txt", "一###二".encode()),
        purpose="retrieval",
        knowledge_id=base_made.id,
        sentence_size=20,
        custom_separator=["###"],
    )
    document_id = uploaded.successInfos[0].documentId
    while not (document := client.knowledge.document.retrieve(document_id)).embedding_stat:
        time.sleep(0.1)
    client.knowledge.modify(base_made.id, 11, name="新名")
    listed = client.knowledge.document.list(base_made.id, purpose="retrieval")
    told["knowledge"] = [
        client.knowledge.query(page=1, size=5).list[0].name,
        document.embedding_stat,
        [document.custom_separator, document.sentence_size, document.word_num],
        [row.name for row in listed.list],
        client.knowledge.used().used.length >= document.length,
        client.files.content(document_id).content.decode(),
        client.knowledge.document.edit(document_id, "3").status_code,
        client.files.create(file=("b.txt", b"b"), purpose="retrieval", knowledge_id=base_made.id).id,
        client.knowledge.document.delete(document_id).status_code,
        client.knowledge.delete(base_made.id).status_code,
        [row.id for row in client.knowledge.query(size=100).list].count(base_made.id),
    ]
stranger = make(api_key="a.b", base_url=base, max_retries=0)
told["errors"] = []
for who, model in ((client, "nosuch"), (stranger, "echo")):
    try:
        who.chat.completions.create(model=model, messages=hi)
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        told["errors"].append(type(error).__name__)
print(json.dumps(told))
