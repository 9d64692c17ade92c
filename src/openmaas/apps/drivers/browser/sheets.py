"""A dialog of a page (alert, confirm, prompt, "leave this page?") as a page of its own, in front of the one that waits.

While it is open its page answers nothing, not even to be looked at. So it is shown by a fresh page that has the last
picture behind it: seen, tapped and typed into like any other, in any script. The answer goes where it belongs.
"""

from __future__ import annotations

import base64
import contextlib
from string import Template

from playwright.async_api import BrowserContext, Dialog, Error, Page

PAGE = Template("""<!doctype html><meta charset="utf-8"><title>dialog</title><style>
body { margin: 0; height: 100vh; font: 16px sans-serif;
  background: url(data:image/png;base64,$picture) 0 0 / 100% 100% }
form { position: absolute; inset: 0; margin: auto; width: min(28em, 90%); height: fit-content; max-height: 90%;
  overflow: auto; box-sizing: border-box; padding: 1em; background: white; border: 1px solid; white-space: pre-wrap }
p { margin: 0 0 1em; overflow-wrap: anywhere }
input { width: 100%; box-sizing: border-box; margin-bottom: 1em; font: inherit }
</style><form role="alertdialog"><p></p><input hidden><button>OK</button> <button type="button" hidden>Cancel</button>
</form>""")
FILL = """([message, kind, value]) => { window.answered = new Promise(answer => {
  const form = document.querySelector("form"), [text, field, ok, cancel] = form.children;
  text.textContent = message; field.value = value;
  field.hidden = kind !== "prompt"; cancel.hidden = kind === "alert";
  form.onsubmit = event => { event.preventDefault(); answer([true, field.value]); };
  cancel.onclick = () => answer([false, ""]);
  document.onkeydown = event => { if (event.key === "Escape") answer([kind === "alert", ""]); };
  (field.hidden ? ok : field).focus(); if (!field.hidden) field.select();
}); }"""
LEAVE = "Leave this page? What was entered may be lost."


async def show(context: BrowserContext, picture: bytes, dialog: Dialog) -> Page:
    """A page that asks what the dialog asks, with this picture behind."""
    page = await context.new_page()
    await page.set_content(PAGE.substitute(picture=base64.b64encode(picture).decode()))
    message = dialog.message or (LEAVE if dialog.type == "beforeunload" else "")
    await page.evaluate(FILL, [message, dialog.type, dialog.default_value])
    return page


async def pass_on(page: Page, dialog: Dialog) -> None:
    """Wait for the answer, and give it to the dialog. A page that was closed has said no."""
    accepted, text = False, ""
    with contextlib.suppress(Error):
        accepted, text = await page.evaluate("answered")
        await page.close()
    if accepted:
        await (dialog.accept(text) if dialog.type == "prompt" else dialog.accept())
    else:
        await dialog.dismiss()
