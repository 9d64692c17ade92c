"""A phone's tree of views, as the elements that a person could name.

The attributes are those of Android's ``uiautomator dump``; drivers of other phones give theirs the same names.

A row that can be tapped and says nothing itself is called by the texts inside it, which then are no elements of their
own: a list of a model's is short. What is not on the screen is left out.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from openmaas.apps.drivers.driver import Box, Element
from openmaas.core import bounds

#: The last part of a class, without what a version of the widgets puts before it, as ARIA's role.
ROLES = {
    "Button": "button",
    "ImageButton": "button",
    "FloatingActionButton": "button",
    "EditText": "textbox",
    "AutoCompleteTextView": "textbox",
    "MultiAutoCompleteTextView": "textbox",
    "CheckBox": "checkbox",
    "CheckedTextView": "checkbox",
    "Switch": "switch",
    "ToggleButton": "switch",
    "RadioButton": "radio",
    "Spinner": "combobox",
    "SeekBar": "slider",
    "RatingBar": "slider",
    "ProgressBar": "progressbar",
    "ImageView": "image",
    "TextView": "text",
    "Tab": "tab",
    "MenuItem": "menuitem",
    # HarmonyOS
    "Text": "text",
    "TextInput": "textbox",
    "TextArea": "textbox",
    "SearchField": "textbox",
    "Checkbox": "checkbox",
    "Toggle": "switch",
    "Radio": "radio",
    "Select": "combobox",
    "Slider": "slider",
    "Image": "image",
}
_BOUNDS = re.compile(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]")


def of_tree(tree: ElementTree.Element, width: int, height: int) -> tuple[Element, ...]:
    """What the tree names on a screen of this size."""
    return tuple(_Reading(width, height).inside(tree))


def of_dump(dump: str, width: int, height: int) -> tuple[Element, ...]:
    """The same of what uiautomator wrote; nothing when it wrote no tree."""
    start, end = dump.find("<hierarchy"), dump.rfind("</hierarchy>")
    if start < 0 or end < 0:
        return ()
    try:
        tree = ElementTree.fromstring(dump[start : end + len("</hierarchy>")])  # noqa: S314 - expat bounds entities
    except ElementTree.ParseError:
        return ()
    return of_tree(tree, width, height)


class _Reading:
    """One walk through a tree; counts how often an id came, since the rows of a list share theirs."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._seen: dict[str, int] = {}

    def inside(self, node: ElementTree.Element) -> list[Element]:
        """The elements below a node, in the order of the tree."""
        return [element for child in node for element in self._of(child)]

    def _of(self, node: ElementTree.Element) -> list[Element]:
        below = self.inside(node)
        box = self._box(node.get("bounds", ""))
        if box is None:
            return below
        role = self._role(node)
        hint, said = node.get("hint", ""), node.get("text", "")
        text = node.get("content-desc") or (hint if role == "textbox" else said)
        acts = any(_is(node, name) for name in ("clickable", "long-clickable", "checkable"))
        if acts and not text and role != "textbox":
            text = " ".join(each.text for each in below if each.role == "text")[: bounds.LABEL_LENGTH_MAX]
            below = [each for each in below if each.role != "text"]
        if not (text or acts or role == "textbox" or _is(node, "scrollable")):
            return below
        secret = _is(node, "password")
        return [
            Element(
                role=role,
                text=text,
                box=box,
                value=said if role == "textbox" and not secret and said != hint else "",
                place=self._place(node),
                enabled=_is(node, "enabled"),
                focused=_is(node, "focused"),
                checked=_is(node, "checked") if _is(node, "checkable") else None,
                scrolls=_is(node, "scrollable"),
                secret=secret,
            ),
            *below,
        ]

    def _role(self, node: ElementTree.Element) -> str:
        name = node.get("class", "").rpartition(".")[2]
        for prefix in ("AppCompat", "Material"):
            name = name.removeprefix(prefix)
        role = ROLES.get(name, "")
        if _is(node, "clickable") and role in ("", "text", "image"):
            return "button"
        return role or ("text" if node.get("text") or node.get("content-desc") else "group")

    def _place(self, node: ElementTree.Element) -> str:
        name = node.get("resource-id") or node.get("class", "").rpartition(".")[2]
        self._seen[name] = self._seen.get(name, 0) + 1
        return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"

    def _box(self, text: str) -> Box | None:
        found = _BOUNDS.fullmatch(text)
        if found is None:
            return None
        left, top, right, bottom = (int(number) for number in found.groups())
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self._width), min(bottom, self._height)
        return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _is(node: ElementTree.Element, name: str) -> bool:
    return node.get(name) == "true"
