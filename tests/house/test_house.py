"""The house rules, held."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from openmaas.cli.main import main
from openmaas.house.pages import PAGES, all_errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_the_journey_fits_on_two_pages() -> None:
    assert len((ROOT / "src/openmaas/relay/journey.py").read_text().splitlines()) < 200


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_module_and_public_thing_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_functions_can_be_seen_at_once(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 90, node.name


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_made_from_the_code_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


def test_the_readme_names_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    commands = re.findall(r"^openmaas ([a-z]+(?: [a-z]+)?)(?=[ \n])", text, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        words = command.split()
        found = CliRunner().invoke(main, [*words, "--help"])
        if found.exit_code and len(words) > 1:
            found = CliRunner().invoke(main, [words[0], "--help"])
        assert found.exit_code == 0, command


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_error_has_a_code_and_a_message() -> None:

    for kind in all_errors():
        assert kind.code
        assert (kind.__doc__ or "").endswith(".")
