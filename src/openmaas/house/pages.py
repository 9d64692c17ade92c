"""Pages made from the code: ``python -m openmaas.house.pages docs``. A test sees that they are fresh."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

from openmaas.core import errors
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.openai.errors import status_of
from openmaas.house.settings import Settings

_MADE = "<!-- made by `make docs`; change the code, not this page -->\n\n"


def settings_page() -> str:
    """Every setting."""
    hints = get_type_hints(Settings, include_extras=True)
    lines = [
        "# Settings",
        "",
        "Later wins: default, `settings.toml` in the data folder, `OPENMAAS_<NAME>`, command line.",
        "",
    ]
    lines += ["| Setting | Default | What it does |", "|---|---|---|"]
    for name, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        hint = hints[name]
        assert get_origin(hint) is Annotated, name
        shown = ", ".join(default) if isinstance(default, tuple) else default
        lines.append(f"| `{name}` | `{shown}` | {get_args(hint)[1].description} |".replace("``", "–"))
    return _MADE + "\n".join(lines) + "\n"


def all_errors() -> list[type[OpenmaasError]]:
    """Every error, in the order of the file."""
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, OpenmaasError)]


def errors_page() -> str:
    """Every error that a caller can meet."""
    lines = ["# Errors", "", "On the OpenAI wire: `error.code`, the status, what it means, what to do.", ""]
    lines += ["| Code | Status | Meaning | Next step |", "|---|---|---|---|"]
    rows = {(kind.code, status_of(kind())[0], kind.__doc__ or "", kind.hint) for kind in all_errors()}
    lines += [
        f"| `{code}` | {status} | {' '.join(text.split())} | {hint} |" for code, status, text, hint in sorted(rows)
    ]
    return _MADE + "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "errors.md": errors_page}


def main(folder: Path) -> None:
    """Write every page into ``folder``."""
    for name, make in PAGES.items():
        (folder / name).write_text(make())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
