// What a person could name on this page: called with the most elements and characters, gives {title, elements}.
// It goes into open shadow roots and into frames of the same origin; of another origin's frame it tells that it is
// there. An element is told if a tap on the middle of its box would reach it. A secret's value is not read.
([elementsMax, textMax]) => {
  const ROLES = { A: "link", BUTTON: "button", TEXTAREA: "textbox", OPTION: "option", SUMMARY: "button", IMG: "image",
    CANVAS: "image", VIDEO: "video", AUDIO: "audio", IFRAME: "iframe", PROGRESS: "progressbar", METER: "meter", H1: "heading",
    H2: "heading", H3: "heading", H4: "heading", H5: "heading", H6: "heading" };
  const INPUTS = { checkbox: "checkbox", radio: "radio", range: "slider", number: "spinbutton", search: "searchbox",
    button: "button", submit: "button", reset: "button", image: "button", file: "button", color: "button" };
  const SHAPES = new Set(["circle", "ellipse", "rect", "line", "polygon", "polyline", "path", "image"]);
  // What is only there to hold others: it is told if it scrolls, or for the text of its own.
  const STRUCTURE = new Set(("alert alertdialog application article banner complementary contentinfo dialog document feed " +
    "figure form generic grid group list listitem log main menu menubar navigation none note presentation radiogroup region " +
    "row rowgroup search status table tablist tabpanel toolbar tree treegrid").split(" "));
  const HELD = new Set(["textbox", "searchbox", "combobox", "spinbutton", "slider", "listbox"]);
  // What is said by a whole, so that its parts need not say it again.
  const WHOLE = new Set(["button", "link", "option", "tab", "menuitem", "treeitem", "checkbox", "radio", "switch", "heading"]);
  const SECRET = /password|one-time-code|cc-csc|cc-number/;

  const clean = text => (text || "").replace(/\s+/g, " ").trim().slice(0, textMax);
  const up = node => node.assignedSlot || node.parentElement || (node.getRootNode().host ?? null);
  const within = (node, whole) => { for (; node; node = up(node)) if (node === whole) return true; return false; };

  const FIELDS = new Set(["textbox", "searchbox", "spinbutton", "combobox", "listbox"]);
  const takes = node => node.isContentEditable || node.tagName === "TEXTAREA" || node.tagName === "SELECT"
    || (node.tagName === "INPUT" && !["button", "submit", "reset", "image"].includes(node.type));

  function role(node) {
    const own = (node.getAttribute("role") || "").trim().split(" ")[0];
    // What takes no text is no field, whatever it calls itself: a tap on a field is taken to be harmless.
    if (own && !STRUCTURE.has(own) && (!FIELDS.has(own) || takes(node))) return own;
    const tag = node.tagName;
    if (tag === "INPUT") return INPUTS[node.type] || "textbox";
    if (tag === "SELECT") return node.multiple || node.size > 1 ? "listbox" : "combobox";
    if (tag === "A" && !node.hasAttribute("href") && !acts(node)) return "";
    if (node.namespaceURI === "http://www.w3.org/2000/svg") return SHAPES.has(tag) && !node.closest("defs") ? "image" : "";
    if (node.isContentEditable && !node.parentElement?.isContentEditable) return "textbox";
    return ROLES[tag] || "";
  }

  // Something that is made to be tapped though no role says so.
  function acts(node) {
    if (node.onclick || node.hasAttribute("onclick") || node.draggable === true) return true;
    if (node.tabIndex >= 0 && node.hasAttribute("tabindex")) return true;
    const parent = node.parentElement;
    return getComputedStyle(node).cursor === "pointer" && (!parent || getComputedStyle(parent).cursor !== "pointer");
  }

  // The role of what has none: it acts, or something is drawn there.
  function outside(node, own) {
    if (node === node.ownerDocument.body || node === node.ownerDocument.documentElement) return "";
    if (acts(node)) return "button";
    if (own || node.children.length) return "";
    const style = getComputedStyle(node);
    const filled = !/^transparent$|, 0\)$/.test(style.backgroundColor) || parseFloat(style.borderTopWidth) > 0;
    return filled || style.backgroundImage !== "none" || style.content.startsWith("url(") ? "image" : "";
  }

  // A part of the page that is tapped as one though it says several things: each of them is told, as a button.
  function several(node) {
    return [...node.children].filter(child => clean(child.textContent)).length > 1;
  }

  // A paragraph with words set apart in it is one text; one with something to tap in it is several.
  function ownText(node) {
    const own = clean([...node.childNodes].filter(child => child.nodeType === 3).map(child => child.data).join(" "));
    const inline = own && [...node.querySelectorAll("*")].every(child =>
      getComputedStyle(child).display === "inline" && !role(child) && !acts(child));
    return inline ? clean(node.innerText ?? node.textContent) : own;
  }

  // What can be read there, when it is called something else.
  function shown_too(node, text) {
    const read = clean(node.innerText ?? "");
    return text.includes(read) ? "" : read;
  }

  function name(node, is) {
    const by = (node.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean)
      .map(id => node.getRootNode().getElementById?.(id)?.textContent).join(" ");
    const labels = [...(node.labels || [])].map(label => label.innerText || label.textContent).join(" ");
    const said = clean(by) || clean(node.getAttribute("aria-label")) || clean(labels) || clean(node.getAttribute("alt"));
    if (said) return said;
    if (node.tagName === "INPUT" && ["button", "submit", "reset"].includes(node.type))
      return clean(node.value) || (node.type === "reset" ? "Reset" : "Submit");
    if (node.tagName === "IFRAME") return clean(node.title) || clean(node.name) || clean(node.src);
    if (!HELD.has(is) && clean(node.innerText ?? node.textContent)) return clean(node.innerText ?? node.textContent);
    const called = clean(node.getAttribute("title")) || clean(node.getAttribute("placeholder"));
    if (called) return called;
    // Of a field that has no name it is of use to know what it takes.
    if (/^(date|time|datetime-local|month|week|color|email|tel|url)$/.test(node.type)) return node.type;
    if (SHAPES.has(node.tagName)) return clean(`${node.getAttribute("fill") || ""} ${node.tagName}`);
    // An icon: what its author calls it is better than nothing.
    return HELD.has(is) || is === "region" ? "" : clean(node.getAttribute("class")) || clean(node.id);
  }

  function secret(node) {
    return node.tagName === "INPUT" && (node.type === "password" || SECRET.test(node.autocomplete));
  }

  function value(node) {
    if (secret(node)) return "";
    if (node.tagName === "SELECT") return clean([...node.selectedOptions].map(option => option.label).join(", "));
    if (node.tagName === "INPUT" && ["checkbox", "radio", "button", "submit", "reset", "image"].includes(node.type)) return "";
    if (node.tagName === "INPUT" || node.tagName === "TEXTAREA") return node.value.slice(0, textMax);
    if (node.isContentEditable) return node.innerText.slice(0, textMax);
    return clean(node.getAttribute("aria-valuetext") || node.getAttribute("aria-valuenow"));
  }

  function checked(node) {
    if (node.tagName === "INPUT" && ["checkbox", "radio"].includes(node.type)) return node.checked;
    if (node.tagName === "OPTION") return node.selected;
    const said = node.getAttribute("aria-checked") ?? node.getAttribute("aria-selected") ?? node.getAttribute("aria-pressed");
    return said === null ? null : said === "true";
  }

  function scrolls(node) {
    const overflow = getComputedStyle(node).overflowY + getComputedStyle(node).overflowX;
    return /auto|scroll/.test(overflow) && (node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1);
  }

  function step(node) {
    const root = node.getRootNode(), parent = node.parentNode;
    if (node.id && root.querySelectorAll(`#${CSS.escape(node.id)}`).length === 1) return `#${node.id}`;
    const like = parent ? [...parent.children].filter(child => child.tagName === node.tagName) : [node];
    const nth = like.length > 1 ? `:${like.indexOf(node) + 1}` : "";
    const above = node.parentElement ? step(node.parentElement) : root.host ? `${step(root.host)}>>` : "";
    return above === "html" || above === "body" || !above ? node.tagName.toLowerCase() + nth : `${above}/${node.tagName.toLowerCase()}${nth}`;
  }

  // The parts of it that its scrolling ancestors and the window let be seen.
  function clip(node, box) {
    let [left, top, right, bottom] = [Math.max(box.left, 0), Math.max(box.top, 0), box.right, box.bottom];
    const view = node.ownerDocument.defaultView;
    [right, bottom] = [Math.min(right, view.innerWidth), Math.min(bottom, view.innerHeight)];
    for (let above = up(node); above; above = up(above)) {
      if (getComputedStyle(above).overflow === "visible" || above === above.ownerDocument.documentElement) continue;
      const edge = above.getBoundingClientRect();
      if (above === above.ownerDocument.body) continue;
      left = Math.max(left, edge.left); top = Math.max(top, edge.top);
      right = Math.min(right, edge.right); bottom = Math.min(bottom, edge.bottom);
    }
    return { left, top, width: right - left, height: bottom - top };
  }

  function reached(node, x, y) {
    let root = node.ownerDocument, hit = root.elementFromPoint(x, y);
    while (hit?.shadowRoot?.elementFromPoint(x, y) && hit.shadowRoot.elementFromPoint(x, y) !== hit)
      hit = hit.shadowRoot.elementFromPoint(x, y);
    // What takes no taps itself lets them through to what it lies on; a label's tap is its field's.
    const through = hit && getComputedStyle(node).pointerEvents === "none" && within(node, hit);
    if (!hit || !(within(hit, node) || through || hit.closest("label")?.control === node)) return false;
    const frame = node.ownerDocument.defaultView.frameElement;
    if (!frame || node.ownerDocument === document) return true;
    const edge = frame.getBoundingClientRect();
    return reached(frame, x + edge.left + frame.clientLeft, y + edge.top + frame.clientTop);
  }

  // A box within the element whose middle reaches it: all that shows of it, a line of it, or a quarter of either.
  function seen(node) {
    const style = getComputedStyle(node);
    if (style.visibility !== "visible" || style.display === "none") return null;
    for (const rect of [node.getBoundingClientRect(), ...node.getClientRects()]) {
      const all = clip(node, rect), { left, top, width, height } = all;
      const line = node.tagName === "line" || node.tagName === "path" || node.tagName === "polyline";
      if (!(width >= 1 && height >= 1) && !(line && width >= 0 && height >= 0)) continue;
      const [w, h] = [width / 2, height / 2];
      const quarters = [[left, top], [left + w, top], [left, top + h], [left + w, top + h]];
      for (const box of [all, ...quarters.map(([left, top]) => ({ left, top, width: w, height: h }))])
        if (reached(node, box.left + box.width / 2, box.top + box.height / 2)) return box;
    }
    return null;
  }

  const elements = [];
  function walk(root, dx, dy, prefix, told, tapped) {
    for (const node of root.children) {
      if (elements.length >= elementsMax) return;
      if (["SCRIPT", "STYLE", "HEAD", "TEMPLATE", "NOSCRIPT"].includes(node.tagName)) continue;
      if (getComputedStyle(node).display === "none") continue;
      const control = node.tagName === "LABEL" ? node.control : null;
      const shown = control && seen(control);
      const own = shown ? "" : ownText(node);
      const native = (control && !shown && role(control)) || role(node);
      const guessed = native ? "" : outside(node, own);
      const group = guessed === "button" && several(node);
      const is = native || (group ? "" : guessed);
      const text = is ? name(node, is) : own;
      const moves = scrolls(node) || (node === document.scrollingElement && node.scrollHeight > innerHeight + 1);
      // A text that its button or link has said already is no element of its own.
      // Nor is a picture that its button has.
      const box = (is && !(told && is === "image")) || moves || (text && !told.includes(text)) ? seen(node) : null;
      const whole = is && WHOLE.has(is);
      if (box && (is || text || moves)) elements.push({
        role: is || (!text ? "region" : tapped ? "button" : "text"),
        text,
        box: [box.left + dx, box.top + dy, box.width, box.height],
        value: HELD.has(is) ? value(node) : is ? shown_too(node, text) : "",
        place: prefix + step(node),
        enabled: !node.matches?.(":disabled") && node.getAttribute("aria-disabled") !== "true",
        focused: node.getRootNode().activeElement === node && node !== node.ownerDocument.body,
        checked: checked(control || node),
        scrolls: moves,
        secret: secret(node),
      });
      if (node.shadowRoot) walk(node.shadowRoot, dx, dy, prefix, told, tapped);
      if (node.tagName === "IFRAME") inside(node, dx, dy, prefix);
      // The options of a closed list show nowhere: `seen` leaves them out.
      else if (!(whole && node.tagName === "OPTION")) walk(node, dx, dy, prefix, shown ? name(control, "") : (whole || !is) && box && text ? text : told, tapped || group);
    }
  }

  function inside(frame, dx, dy, prefix) {
    let there = null;
    try { there = frame.contentDocument; } catch { return; }
    if (!there?.documentElement) return;
    const edge = frame.getBoundingClientRect();
    walk(there, dx + edge.left + frame.clientLeft, dy + edge.top + frame.clientTop, `${prefix}${step(frame)}>>`, "", false);
  }

  walk(document, 0, 0, "", "", false);
  return { title: document.title, elements };
}
