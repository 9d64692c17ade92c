"""The gate outside the model: which of an agent's acts a person must agree to, and which are never done.

It judges the act and what it would touch, by words (``gate.toml``) and never by a model, so that nothing on a screen
can talk it round: what stands there can only add a class of risk, and the strictest answer wins. It runs before each
act, whatever the grammar. The classes are Open-AutoGLM's "6+1"; peers leave the question to the model itself.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from functools import lru_cache
from importlib.resources import files

import msgspec

from openmaas.apps.drivers.acts import Act, Back, Home, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.driver import Box, Element, Screen
from openmaas.core.bounds import QUESTION_CHARS, TAP_PX
from openmaas.core.errors import FieldInvalid


class Risk(StrEnum):
    """What an act may do that cannot be taken back."""

    MESSAGES = "messages"
    FILES = "files"
    ORDERS = "orders"
    PAYMENTS = "payments"
    ACCOUNTS = "accounts"
    MEDICAL_LEGAL = "medical_legal"
    OTHERS = "others"


class Answer(IntEnum):
    """What becomes of it; the greater is the stricter."""

    ALLOW = 0
    ASK = 1
    DENY = 2


class Ruling(msgspec.Struct, frozen=True):
    """The gate's word on one act, for the log: the answer, the risks it saw, and by what."""

    answer: Answer
    risks: tuple[Risk, ...] = ()
    why: tuple[str, ...] = ()


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one class is known by."""

    names: tuple[str, ...]
    pages: tuple[str, ...]
    apps: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True):
    """What becomes of each class: a person is asked where nothing is said. ``apps``: the same for one application, by a
    part of its name; of all that is said the strictest holds."""

    risks: Mapping[Risk, Answer] = {}
    apps: Mapping[str, Mapping[Risk, Answer]] = {}

    def answer(self, risk: Risk, app: str) -> Answer:
        """The answer for this class in this application."""
        found = [self.risks[risk]] if risk in self.risks else []
        found += [each[risk] for name, each in self.apps.items() if risk in each and plain(name) in plain(app)]
        return max(found, default=Answer.ASK)


def read_policy(said: Iterable[str]) -> Policy:
    """A policy from lines such as ``payments=deny`` or ``bank/payments=deny``. Raises ``FieldInvalid``."""
    risks: dict[Risk, Answer] = {}
    apps: dict[str, dict[Risk, Answer]] = {}
    for each in said:
        left, _, answer = each.partition("=")
        app, _, risk = left.rpartition("/")
        if risk not in list(Risk) or answer.upper() not in Answer.__members__:
            raise FieldInvalid(
                f"{each!r} is no rule; one is such as payments=deny, of {', '.join(Risk)}, and allow, ask or deny",
                field="policy",
            )
        (apps.setdefault(app, {}) if app else risks)[Risk(risk)] = Answer[answer.upper()]
    return Policy(risks, apps)


@lru_cache(1)
def _table() -> tuple[re.Pattern[str], dict[Risk, dict[str, re.Pattern[str]]]]:
    found = tomllib.loads((files(__package__) / "gate.toml").read_text("utf-8"))
    affirmative = _pattern(found.pop("affirmative"))
    classes = {Risk(name): msgspec.convert(each, Words) for name, each in found.items()}
    return affirmative, {
        risk: {k: _pattern(v) for k, v in msgspec.structs.asdict(each).items()} for risk, each in classes.items()
    }


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words: Latin ones between boundaries, others anywhere. Of no words: nothing."""
    parts = [
        rf"(?<![a-z]){re.escape(word)}(?![a-z])" if word.isascii() else re.escape(word) for word in map(plain, words)
    ]
    return re.compile("|".join(parts) or r"(?!)")


#: Letters that look like Latin ones, in lower case: of Cyrillic, Greek and IPA, the common part of Unicode's
#: confusables (UTS #39); where the capital is the one that misleads, as the capital is read.
_LOOKALIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝвткмнүαοντρκιυεηχζβμɑɡıℓᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "aeopcyxijshdqwbtkmhyaovtpkiyehxzbmagilabcdefghijklmnoprstuvwyz",
)
#: Letters and signs that show nothing.
_BLANK = dict.fromkeys(map(ord, "\u115f\u1160\u2800\u3164\uffa0"))
_TURNED = re.compile("[\u202d\u202e\u2066-\u2069]")
_SPACED = re.compile(r"(?<![a-z0-9])(?:[a-z][\s._\-*·|]+){2,}[a-z](?![a-z0-9])")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def plain(text: str) -> str:
    """A text as the table has it: folded (NFKC, lower case), without marks and invisible letters, look-alikes as Latin,
    letters that stand apart ("P a y") together, words that stand together ("PayNow") apart."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).translate(_BLANK))
    seen = "".join(each for each in folded if unicodedata.category(each) not in ("Mn", "Me", "Cf", "Co", "Cn"))
    latin = re.sub(r"\s+", " ", _HUMP.sub(" ", seen).casefold().translate(_LOOKALIKE)).strip()
    return _SPACED.sub(lambda found: re.sub(r"[\s._\-*·|]+", "", found[0]), latin)


class Gate:
    """One policy at work."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()

    def rule(self, act: Act, screen: Screen, warned: str = "") -> Ruling:
        """What becomes of an act on this screen. ``warned``: the model's own word that it is risky."""
        why: dict[Risk, str] = {}
        for target in _targets(act, screen):
            for risk, reason in _risks(target, screen):
                why.setdefault(risk, reason)
        if isinstance(act, (Launch, Type)):
            for risk, reason in _spoken(act, screen):
                why.setdefault(risk, reason)
        if warned:
            why.setdefault(Risk.OTHERS, f"the model says: {warned[:200]}")
        answer = max((self._policy.answer(risk, screen.app) for risk in why), default=Answer.ALLOW)
        return Ruling(answer, tuple(why), tuple(why.values()))


_LETTERS = re.compile(r"[^a-z\u3400-\u9fff]+")
#: What takes a tap and does something.
_TAPPABLE = frozenset(
    {"button", "link", "menuitem", "tab", "option", "switch", "slider", "image", "checkbox", "radio", "treeitem", ""}
)
#: A field takes a cursor; it is risky only when it is called like a button, which an honest one is not.
_FIELDS = frozenset({"textbox", "searchbox", "spinbutton", "combobox", "listbox"})
#: What is in these nobody told.
_CLOSED = frozenset({"iframe", "window", "canvas"})
#: What a key may set off that nobody listed: a form sends itself, a list deletes what is chosen.
_SENDS, _DELETES = Element("button", "", Box(0, 0, 0, 0)), Element("button", "delete", Box(0, 0, 0, 0))


def _targets(act: Act, screen: Screen) -> list[Element | None]:
    """What the act would touch; None for a place where nothing is known to be."""
    focused = [each for each in screen.elements if each.focused]
    in_field = any(each.role in _FIELDS for each in focused)
    match act:
        case Tap(at=at) | Press(at=at):
            return _at(at, screen)
        case Swipe(start=start, end=end) if max(abs(start.x - end.x), abs(start.y - end.y)) <= TAP_PX:
            return _at(start, screen)
        case Swipe(start=start, end=end):  # a slider that pays is swiped; a list is, too, and its middle is no button
            return [each for point in (start, end) for each in _at(point, screen) if each and each.role in _TAPPABLE]
        case Key(keys=keys) if {"Enter", "\n", "\r"} & set(keys) or len(keys) > 1:
            return _pressed(screen)
        case Key(keys=keys) if {"Delete", "Backspace"} & set(keys) and not in_field:
            return [_DELETES]
        case Type(text=text) if "\n" in text or "\r" in text:
            return _pressed(screen)
        case Key() | Type() if focused and not in_field:  # a space presses what has the focus
            return [*focused]
        case Key() | Type() | Back() | Home() | Hover() | Scroll() | Launch():
            return []
        case _:
            return [None]


def _at(point: Point, screen: Screen) -> list[Element | None]:
    """Everything there that could take the tap, and the smallest thing whatever it is."""
    there = [each for each in screen.elements if each.box.holds(point)]
    if not there:
        return [None]
    smallest = min(there, key=lambda each: each.box.width * each.box.height)
    return [smallest, *(each for each in there if each.role in _TAPPABLE and each is not smallest)]


def _pressed(screen: Screen) -> list[Element | None]:
    """What Enter may set off: what has the focus, any button there is, and a form without one."""
    return [_SENDS, *(each for each in screen.elements if each.enabled and (each.focused or each.role == "button"))]


def _risks(target: Element | None, screen: Screen) -> Iterable[tuple[Risk, str]]:
    affirmative, classes = _table()
    if target is None or target.role in _CLOSED:
        yield Risk.OTHERS, "nothing is known of what is at this place"
    name = plain(f"{target.text} {'' if target.role in _FIELDS else target.value}") if target is not None else ""
    if target is not None and _TURNED.search(target.text):
        yield Risk.OTHERS, f"{name[:80]!r} is written so that it reads otherwise"
    field = target is not None and target.role in _FIELDS
    agrees = not field and (not name or bool(affirmative.search(name)))
    page = plain("\n".join([screen.title, *(each.text for each in screen.elements)]))
    app = plain(screen.app)
    for risk, words in classes.items():
        if field:  # "Transfer amount" is a field's name, "Transfer" a button's
            if words["names"].fullmatch(_LETTERS.sub(" ", name).strip()):
                yield risk, f"the field {name[:80]!r} is called like a button"
        elif name and (found := words["names"].search(name)):
            yield risk, f"{name[:80]!r} says {found[0]!r}"
        elif agrees and (found := words["pages"].search(page)):
            yield risk, f"{name[:80]!r} on a page that says {found[0]!r}"
        elif agrees and len(page) <= QUESTION_CHARS and (found := words["names"].search(page)):
            yield risk, f"{name[:80]!r} to a question that says {found[0]!r}"
        elif agrees and (found := words["apps"].search(app)):
            yield risk, f"{name[:80]!r} in {screen.app!r}"


def _spoken(act: Launch | Type, screen: Screen) -> Iterable[tuple[Risk, str]]:
    """An address that acts by being opened, and a text that goes into a secret field."""
    if isinstance(act, Launch):
        address = act.app.strip().lower()
        if re.match(r"[a-z][a-z0-9+.-]*:", address) and not re.match(r"https?://", address):
            yield Risk.OTHERS, f"{act.app[:80]!r} is no web address"
        elif "?" in address:
            yield Risk.OTHERS, f"{act.app[:80]!r} carries something there"
    elif any(each.focused and each.secret for each in screen.elements):
        yield Risk.ACCOUNTS, "a text goes into a secret field"
