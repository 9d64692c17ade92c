"""A walk as a model: it answers the next step of a written way through a simulated phone's pages. It shows that the
mechanics carry (eyes, grammar, gate, hands, judge), and nothing of what a model would find out by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.agents.policies import FIELDS, Answer, Item, Seen
from openmaas.apps.simphone.world.task import Step

DOWN = 12  #: scrolls down in search of one step's target; a page of the world is shorter


class Walk:
    """One walk. ``ui`` are the words of the world's pages; ``person`` is told what only they may type."""

    def __init__(self, steps: Sequence[Step], ui: Mapping[str, str], person: Callable[[Step], None]) -> None:
        self._steps, self._ui, self._person = list(steps), ui, person
        self._searched = 0

    def __call__(self, seen: Seen) -> Answer:
        """The next step, as far as the screen shows what it is done to."""
        if not self._steps:
            return {"action": "finish", "text": "walked"}
        if close := _named(seen, self._ui["popup_close"], ("button", "link")):
            return {"action": "tap", "element": close.number, "why": "a pop-up"}
        step = self._steps[0]
        answer = self._step(step, seen)
        if answer is None:
            return self._search(seen, step)
        self._steps.pop(0)
        self._searched = 0
        return {**answer, "why": f"{step.verb} {step.target}"}

    def _step(self, step: Step, seen: Seen) -> Answer | None:
        match step.verb:
            case "home":
                return {"action": "home"}
            case "back":  # the page's own: a phone's goes to what a form has left behind
                found = _named(seen, self._ui["back"], ())
                return None if found is None else {"action": "tap", "element": found.number}
            case "person":
                self._person(step)
                return {"action": "take_over", "reason": step.target}
            case "type":
                field = _named(seen, step.target, FIELDS)
                return None if field is None else {"action": "type", "element": field.number, "text": step.text}
            case verb:
                found = _named(seen, step.target, (), 1 if verb == "second" else 0)
                return None if found is None else {"action": "tap", "element": found.number}

    def _search(self, seen: Seen, step: Step) -> Answer:
        self._searched += 1
        if self._searched > DOWN:
            return {"action": "finish", "text": f"{step.verb} {step.target}: not found", "succeeded": False}
        return {"action": "scroll", "direction": "down", "why": f"look for {step.target} {self._searched}"}


def _named(seen: Seen, text: str, roles: Sequence[str], place: int = 0) -> Item | None:
    """The element that says this, else that begins with it, else that has it: a button before a mere text. "Plan (old)"
    is another name than "Plan"."""
    those = [each for each in seen.elements if not roles or each.role in roles]
    those.sort(key=lambda each: each.role in ("text", "generic", "heading"))
    tests: tuple[Callable[[str], bool], ...] = (
        lambda said: said == text,
        lambda said: said.startswith(text) and said[len(text) :].strip()[:1] not in ("(", "("),
        lambda said: text in said,
    )
    for fits in tests:
        found = [each for each in those if fits(each.text)]
        if len(found) > place:
            return found[place]
    return None
