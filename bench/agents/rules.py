"""The rule policy: what MiniWoB++'s instructions ask for, as a table of patterns and of what each wishes.

A wish is an answer that says why; the first one that the history does not have is given. What the screen does not show
is not wished for, so that the same rule goes on from wherever it is. It knows the instructions and no page's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bench.agents import forms, taps
from bench.agents.policies import FINISH, WAIT, Answer, Page, Seen

Wishes = Callable[[re.Match[str], Page], Iterator[Answer]]


def rule(seen: Seen) -> Answer:
    """The first wish of the instruction that is not fulfilled yet."""
    done = {answer.get("why") for answer in seen.history}
    for pattern, wishes in RULES:
        if found := re.search(pattern, seen.instruction):
            wished = (wish for wish in wishes(found, Page(seen)) if wish.get("why") not in done)
            try:
                return next(wished, _patience(seen))
            except (IndexError, ValueError):
                return _patience(seen)  # the screen is not, or not yet, what the rule is about
    return FINISH


def _patience(seen: Seen) -> Answer:
    """What is wished for may be on its way: a page that fades, a search that runs."""
    return FINISH if all(answer["action"] == "wait" for answer in seen.history[-3:]) else WAIT


#: The first pattern that an instruction has decides.
RULES: tuple[tuple[str, Wishes], ...] = (
    (r"starts with \"(.+?)\"(?: and ends with \"(.+?)\")?", forms.complete),
    (r"username \"(.+?)\" and the password \"(.+?)\"", forms.login),
    (r"enter the name \"(.+?)\".* press \"(.+?)\"", forms.agree),
    (r"[Ff]or the user (?P<user>@\w+), click on the \"(?P<button>.+?)\"", taps.social),
    (r"Click the \"(?P<button>.+?)\" button on (?P<many>\w+) posts? by (?P<user>@\w+)", taps.social),
    (r"email|message|inbox|[Ff]orward|[Rr]eply", taps.mail),
    (r"Check the (\d)\w\w radio button and enter the number \"(.+?)\" into the (\d)", forms.radio_and_text),
    (r"Choose (.+) from the dropdown.*labeled \"(.+?)\"", forms.drop_down),
    (r"Select (-?\d+) with the slider", forms.slide),
    (r"sliders to the combination (\[.+?\])", forms.slide),
    (r"(?:Select|Enter) (\d+)/(\d+)/(\d+) as the date", forms.date),
    (r"Enter (\d+):(\d+) (\w+) as the time", forms.clock),
    (r"Select (-?\d+) with the spinner", forms.enter),
    (r"Select (.+) from the (?:scroll )?list", forms.choose),
    (r"Select (.+) and click Submit", forms.select),
    (r"Select (.+>.+)$", taps.menu),
    (r"enter \"(.+?)\" and press \"Search\".*the (\d+)\w\w search", taps.results),
    (r"[Tt]ype \"(.+?)\" in all (?P<case>upper|lower)", forms.enter),
    (r"Enter (?:the password )?\"(.+?)\"", forms.enter),
    (r"Search for (.+) movies directed by (.+) from year (\d+)", forms.movies),
    (r"Find (\w+) in the contact book and click on their (.+)\.", taps.contact),
    (r"(?:link) \"(.+?)\"", taps.link),
    (r"folder or file named \"(.+?)\"", taps.tree),
    (r"Find the (\d+)\w\w word", forms.word),
    (r"Copy the text (?:from|in) the (?:(\d)\w\w )?text|last word()", forms.copy),
    (r"Solve (?:for|the)", forms.solve),
    (r"value of (.+) into|corresponds with each label()", forms.table),
    (r"as odd or even", taps.parity),
    (r"card with the greatest", taps.greatest),
    (r"Guess the number", taps.guess),
    (r"Generate an? (?:number )?(odd|even|greater|less)(?: than (\d+))?", taps.generate),
    (r"ascending order", taps.ascending),
    (r"Click on a \"(.+?)\" widget", taps.widget),
    (r"Click on an? (.+?)\.?$", taps.shape),
    (r"best describes the figure", taps.describe),
    (r"Focus into the (?:(\d)\w\w )?(?:input )?textbox", taps.focus),
    (r"Type the text below", forms.letters),
    (r"Buy the ticket|[Bb]ook the ticket", taps.ticket),
    (r"Order one of each item: (.+)$", taps.order),
    (r"stock when the price is less than \$([\d.]+)\.", taps.stock),
    (r"tic-tac-toe", taps.corners),
    (r"Expand the section below", taps.expand),
    (r"Click button (\w+), (?:wait (\d+) seconds, )?then click button (\w+)", taps.press),
    (r"Click the \"Menu\" button.*labeled \"(.+?)\"", taps.sub_menu),
    (r"(?:labeled|clicking the|on the) \"(.+?)\"", taps.press),
    (r"How many (.+?)s? are there", taps.count),
    (r"Click the button\.$", taps.widget),
    (r"(?:Click|Press) (?:on )?(?:the )?(?:button )?(\w+(?: #\d+)?)(?: button)?\.$", taps.press),
)
