"""Between a policy and an agent: a request in the grammar ``choice`` read back into what a policy sees, and a policy's
answer as that grammar has it. What the agent did not tell does not exist for a policy."""

from __future__ import annotations

import json
import re
from typing import Any

from bench.agents.policies import Answer, Item, Policy, Seen

_LINE = re.compile(
    r'^\*?\[(\d+)\] (\S*) "(.*?)"(?: \(secret\))?(?: = "(.*?)")?((?: (?:(?:not )?checked|focused|scrolls|off))*)$'
)
#: Members of an answer that the grammar has, by action; what else a policy keeps there is its own memory.
_MEMBERS = {"tap": "element", "hover": "element", "type": "element text", "scroll": "element direction"}


def read(messages: list[dict[str, Any]]) -> Seen:
    """What a request tells: the task, the elements of the newest screen, and what was answered before."""
    texts = [each["content"] if isinstance(each["content"], str) else each["content"][-1]["text"] for each in messages]
    task = next(text for text in texts if text.startswith("Task: ")).removeprefix("Task: ")
    task = re.split(r"\n\n|\nSecrets you may|\nDone before:", task)[0]
    items = [_item(found) for line in texts[-1].splitlines() if (found := _LINE.match(line))]
    before = [json.loads(each["content"]) for each in messages if each["role"] == "assistant"]
    return Seen(task, items, [{**each, "why": each.get("thinking", "")} for each in before])


def _item(found: re.Match[str]) -> Item:
    number, role, text, value, flags = found.groups()
    checked = None if "checked" not in flags else "not checked" not in flags
    return Item(int(number), role, text, value or "", checked, "scrolls" in flags)


def spoken(policy: Policy) -> Policy:
    """The policy with its answers in the grammar."""

    def answer(seen: Seen) -> Answer:
        said = policy(seen)
        kind, head = said["action"], {"thinking": str(said.get("why", "")), "action": said["action"]}
        match kind:
            case "finish":
                return {**head, "message": str(said.get("text", "")), "succeeded": said.get("succeeded", True)}
            case "wait":
                return {**head, "seconds": 0.3}
            case "key":
                return {**head, "keys": "+".join(said["keys"])}
            case "take_over":
                return {**head, "reason": str(said.get("reason", ""))}
            case _:
                return {**head, **{each: said[each] for each in _MEMBERS.get(kind, "").split() if each in said}}

    return answer
