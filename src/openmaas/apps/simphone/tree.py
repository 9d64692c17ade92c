"""What a page shows, as the tree that ``uiautomator dump`` writes: things that can be touched, and texts, with their
places in pixels of the screen. What is outside of the screen, hidden or covered is not in it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from openmaas.core import bounds

#: Runs in the page and gives a list of nodes, each with the attributes that differ from a plain text's.
SCRIPT = """
() => {
  const scale = devicePixelRatio, nodes = [];
  const TOUCHED = 'a[href],button,input:not([type=hidden]),select,textarea,summary,[onclick],[tabindex],'
    + '[contenteditable=true],[role=button],[role=link],[role=checkbox],[role=switch],[role=radio],[role=tab],'
    + '[role=menuitem],[role=option]';
  const CLASSES = {checkbox: 'CheckBox', switch: 'Switch', radio: 'RadioButton', range: 'SeekBar',
    button: 'Button', submit: 'Button', reset: 'Button', select: 'Spinner'};
  const pixels = at => [at.left, at.top, at.right, at.bottom].map(side => Math.round(side * scale));
  const squeezed = text => (text || '').replace(/\\s+/g, ' ').trim();

  function within(rect, clip) {
    return {left: Math.max(clip.left, rect.left), top: Math.max(clip.top, rect.top),
      right: Math.min(clip.right, rect.right), bottom: Math.min(clip.bottom, rect.bottom)};
  }
  function shown(element, {left, top, right, bottom}) {
    if (right - left < 1 || bottom - top < 1) return false;
    const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    const labels = [...(element.labels || [])];
    return hit && (element.contains(hit) || hit.contains(element) || labels.includes(hit.closest('label')));
  }
  function add(element, rect, clip, facts) {
    const at = within(rect, clip);
    if (shown(element, at)) nodes.push({id: element.id, bounds: pixels(at), ...facts});
  }
  function scrolls(element) {
    const style = getComputedStyle(element), moves = way => way === 'auto' || way === 'scroll';
    return (moves(style.overflowY) && element.scrollHeight > element.clientHeight + 1)
      || (moves(style.overflowX) && element.scrollWidth > element.clientWidth + 1);
  }
  function touched(element, clip) {
    const tag = element.localName, kind = element.getAttribute('role') || (tag === 'input' ? element.type : tag);
    const checkable = ['checkbox', 'radio', 'switch'].includes(kind);
    const button = ['button', 'submit', 'reset'].includes(kind);
    const typed = tag === 'textarea' || element.isContentEditable
      || (tag === 'input' && !button && !checkable && !['range', 'image', 'file', 'color'].includes(kind));
    const labels = [...(element.labels || [])].map(each => each.innerText).join(' ');
    const label = element.getAttribute('aria-label') || squeezed(labels);
    const secret = element.type === 'password';
    const content = tag === 'select' ? element.selectedOptions[0]?.label
      : secret ? '•'.repeat(element.value.length)
      : typed ? ('value' in element ? element.value : element.innerText)
      : button && tag === 'input' ? element.value
      : squeezed(element.innerText || element.querySelector('img')?.alt || element.title);
    add(element, element.getBoundingClientRect(), clip, {
      class: 'android.widget.' + (typed ? 'EditText' : CLASSES[kind] || 'TextView'),
      text: typed ? content || element.placeholder || '' : checkable ? '' : content,
      'content-desc': label || (checkable ? content : ''), hint: element.placeholder || '',
      clickable: true, enabled: !element.disabled, focused: element === document.activeElement,
      checkable, checked: checkable && (element.checked || element.getAttribute('aria-checked') === 'true'),
      password: secret, scrollable: scrolls(element),
    });
  }
  function text(element, rect, clip, said) {
    add(element, rect, clip, {class: 'android.widget.TextView', text: squeezed(said)});
  }
  function walk(element, inside, clip) {
    // An input that cannot be seen takes the tap on what is drawn in its place.
    const opacityProperty = !element.matches('input');
    if (!element.checkVisibility({visibilityProperty: true, opacityProperty})) return;
    const rect = element.getBoundingClientRect();
    if (element.matches(TOUCHED)) { touched(element, clip); inside = true; }
    else if (inside) { /* its text is that of what is touched */ }
    else if (element.localName === 'img' && element.alt)
      add(element, rect, clip, {class: 'android.widget.ImageView', 'content-desc': element.alt});
    else {
      if (element !== document.body && scrolls(element)) {
        add(element, rect, clip, {class: 'android.view.ViewGroup', scrollable: true});
        clip = within(rect, clip);
      }
      for (const child of element.childNodes)
        if (child.nodeType === Node.TEXT_NODE && child.data.trim()) {
          if (!element.querySelector(TOUCHED)) return text(element, rect, clip, element.innerText);
          const range = document.createRange();
          range.selectNodeContents(child);
          text(element, range.getBoundingClientRect(), clip, child.data);
        }
    }
    for (const child of element.children) walk(child, inside, clip);
  }
  const screen = {left: 0, top: 0, right: innerWidth, bottom: innerHeight};
  const scrollable = document.scrollingElement.scrollHeight > innerHeight + 1;
  nodes.push({class: 'android.webkit.WebView', scrollable, bounds: pixels(screen)});
  walk(document.body, false, screen);
  return nodes;
}
"""
_UNSAID = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML cannot say
_TRUTHS = ("checkable", "checked", "clickable", "enabled", "focused", "scrollable", "password")
_TEXTS = ("text", "content-desc", "hint", "class")


def xml(package: str, nodes: Iterable[Mapping[str, Any]]) -> str:
    """The nodes as uiautomator writes them; without any, a screen that is kept from us."""
    root = ElementTree.Element("hierarchy", rotation="0")
    parent = root
    for index, node in enumerate(itertools.islice(nodes, bounds.SIMPHONE_NODES_MAX)):
        left, top, right, bottom = node["bounds"]
        attributes = {name: _UNSAID.sub("", str(node.get(name) or "")) for name in _TEXTS}
        attributes |= {name: str(bool(node.get(name, name == "enabled"))).lower() for name in _TRUTHS}
        attributes["resource-id"] = f"{package}:id/{node['id']}" if node.get("id") else ""
        attributes |= {"package": package, "index": str(index), "bounds": f"[{left},{top}][{right},{bottom}]"}
        added = ElementTree.SubElement(parent, "node", attributes)
        parent = added if index == 0 else parent
    declaration = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>"
    return declaration + ElementTree.tostring(root, encoding="unicode")
