"""``openmaas phone``, ``computer`` and ``traces``: an agent at work in the terminal, and what is made of its traces.

What they need of the extra `apps` is loaded when a command runs, so that ``--help`` answers without it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from openmaas.cli.say import AS_JSON, plainly, show
from openmaas.core.bounds import STEPS_MAX
from openmaas.core.errors import ExtraMissing, FieldInvalid, KeyMissing

F = TypeVar("F", bound=Callable[..., Any])
_NEEDS = ("httpx", "jinja2", "PIL", "playwright", "Xlib")
#: Options that every task has, in the order of ``--help``.
_TASK: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--url", default="http://127.0.0.1:8080", show_default=True, envvar="OPENMAAS_URL", help="The server."
    ),
    click.option("--key", envvar="OPENMAAS_KEY", help="API key; or the environment variable OPENMAAS_KEY."),
    click.option("--model", required=True, help="The model that operates."),
    click.option("--grammar", help="How it names actions; by its name when not given."),
    click.option("--sees/--blind", default=None, help="Whether it is sent pictures; by its grammar when not given."),
    click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of its prompt."),
    click.option(
        "--policy", multiple=True, help="What of risk is done: payments=deny, bank/messages=allow; else it asks."
    ),
    click.option("--secret", multiple=True, help="NAME@APP=VARIABLE: a value of the environment, typed there alone."),
    click.option("--expect", multiple=True, help="What the last screen must say, for the claim to be verified."),
    click.option("--checker", default="", help="A model that judges the claim by the last screen."),
    click.option("--steps", type=click.IntRange(1), default=STEPS_MAX, show_default=True, help="Most steps."),
    click.option("--tokens", type=click.IntRange(1), help="Most tokens."),
    click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Most time."),
    click.option("--money", type=Decimal, help="Most money, as receipts have it."),
    click.option("--trace", type=click.Path(path_type=Path), help="A new folder for the trace of the task."),
    click.option("--alone", is_flag=True, help="Nobody is there to be asked: what needs a person is not done."),
)


def _task(command: F) -> F:
    for option in reversed(_TASK):
        command = option(command)
    return command


def _check_extra() -> None:
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise ExtraMissing(f"devices need the extra `apps` ({missing[0]} is missing); run: make setup-apps")


@click.command()
@click.argument("task")
@click.option(
    "--device", default="android", show_default=True, help="android, android:SERIAL, or sim for a simulated one."
)
@_task
@AS_JSON
@plainly
def phone(task: str, device: str, as_json: bool, **said: Any) -> None:
    """Have TASK done on a phone. ^C pauses and asks; twice ends it."""
    _work(task, device, as_json, said)


@click.command()
@click.argument("task")
@click.option("--browser", help="Do it in a browser that begins with this page and reaches this host alone …")
@click.option("--allow", multiple=True, help="… and these hosts.")
@click.option("--desktop", help="Do it on the X server of this display, such as :0.")
@_task
@AS_JSON
@plainly
def computer(
    task: str, browser: str | None, allow: tuple[str, ...], desktop: str | None, as_json: bool, **said: Any
) -> None:
    """Have TASK done in a browser, or on a desktop. ^C pauses and asks; twice ends it."""
    if (browser is None) == (desktop is None):
        raise FieldInvalid("name one of --browser and --desktop", field="browser")
    _work(
        task, f"browser:{browser}" if browser is not None else f"desktop:{desktop}", as_json, {**said, "allow": allow}
    )


def _work(task: str, device: str, as_json: bool, said: dict[str, Any]) -> None:
    _check_extra()
    if not said["key"]:
        raise KeyMissing("name it with --key or OPENMAAS_KEY; `openmaas keys create` makes one")
    from openmaas.cli import terminal  # noqa: PLC0415 - needs the extra

    terminal.work_in_terminal(task, device, as_json, said)


@click.group()
def traces() -> None:
    """What an agent did: as a page, as a test, and once more."""


@traces.command("report")
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("into", type=click.Path(path_type=Path))
@AS_JSON
@plainly
def report_(trace: Path, into: Path, as_json: bool) -> None:
    """Write TRACE as one HTML file with the screen before and after each step."""
    _check_extra()
    from openmaas.apps.agent.report import report  # noqa: PLC0415 - needs the extra
    from openmaas.apps.agent.trace import read_trace  # noqa: PLC0415 - needs the extra

    into.write_text(report(read_trace(trace)), "utf-8")
    show({"written": str(into)}, as_json=as_json, text=f"written: {into}")


@traces.command("test")
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("into", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Where the test plays it, such as sim:1.")
@click.option("--expect", multiple=True, help="What the last screen must say.")
@AS_JSON
@plainly
def test_(trace: Path, into: Path, device: str, expect: tuple[str, ...], as_json: bool) -> None:
    """Write TRACE as a test for pytest, which plays it again without a model."""
    _check_extra()
    from openmaas.apps.agent.replay import as_test, kept  # noqa: PLC0415 - needs the extra
    from openmaas.apps.agent.trace import read_trace  # noqa: PLC0415 - needs the extra

    task, actions = kept(read_trace(trace))
    name = "".join(
        letter if letter.isalnum() and letter.isascii() else "_" for letter in into.stem.removeprefix("test_")
    )
    into.write_text(as_test(task, actions, name=name, device=device, says=expect), "utf-8")
    show({"written": str(into)}, as_json=as_json, text=f"written: {into}; run it with: pytest {into}")


@traces.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="android, sim:1, browser:URL, desktop::0.")
@click.option("--expect", multiple=True, help="What the last screen must say.")
@click.option("--secret", multiple=True, help="NAME@APP=VARIABLE, for what was typed as a secret.")
@AS_JSON
@plainly
def replay(trace: Path, device: str, expect: tuple[str, ...], secret: tuple[str, ...], as_json: bool) -> None:
    """Do once more what TRACE did, without a model. Exit code 1 when it went otherwise."""
    _check_extra()
    from openmaas.cli import terminal  # noqa: PLC0415 - needs the extra

    terminal.replay_in_terminal(trace, device, expect, secret, as_json)
