"""The house rules, held."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from openmaas.core import errors as e
from openmaas.core.clock import Clock
from openmaas.dialects.anthropic import errors as anthropic
from openmaas.dialects.openai import errors as openai
from openmaas.dialects.responses import errors as responses
from openmaas.dialects.zhipu import errors as zhipu
from openmaas.engines import wire
from openmaas.house.pages import PAGES, all_errors

#: Each dialect's table of errors.
TABLES = {
    "openai": openai.TABLE,
    "anthropic": anthropic.TABLE,
    "responses": responses.TABLE,
    "zhipu": zhipu.TABLE,
}
ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("journey", ["relay/journey.py", "jobs/worker.py"])
def test_a_journey_fits_on_two_pages(journey: str) -> None:
    assert len((ROOT / "src/openmaas" / journey).read_text().splitlines()) < 200


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


#: Numbers that are named like a limit and are none: nobody chose them.
NO_LIMITS = {
    "AMOUNT_NANOS_MAX": "the law of a column of 64 bits, beside the arithmetic that needs it",
    "ACCOUNT_NANOS_MAX": "the same",
    "CLOSED_EXTRA_BYTES": "the form of a journal record, beside that form",
    "CLOSED_LEG_BYTES": "the same",
    "_NONCE_BYTES": "of AES-GCM (NIST SP 800-38D)",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_limits_stand_in_one_file(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not _is_number(node.value):
            continue
        for name in map(ast.unparse, node.targets if isinstance(node, ast.Assign) else [node.target]):
            if re.fullmatch(r"_?[A-Z][A-Z_]*_(MAX|MIN|S|MS|BYTES|THREADS)", name) and name not in NO_LIMITS:
                assert path.name == "bounds.py", (
                    f"{name} belongs to bounds.py (of core, or of openglm), with its reason"
                )


def _is_number(value: ast.expr | None) -> bool:
    number = isinstance(value, ast.Constant) and isinstance(value.value, int | float)
    return number or isinstance(value, ast.BinOp)


def test_every_limit_has_its_reason() -> None:
    for place in ("src/openmaas/core/bounds.py", "src/openglm/bounds.py"):
        for line in (ROOT / place).read_text().splitlines():
            if re.match(r"[A-Z_]+ = ", line):
                assert "  #: " in line, line


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_made_from_the_code_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


def test_the_readme_names_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_packages_of_a_first_start_are_as_many_as_is_said() -> None:
    count = len(re.findall(r"^[\w.-]+==", (ROOT / "requirements/serve.txt").read_text(), re.MULTILINE))
    assert f"installs {count} locked packages" in " ".join((ROOT / "README.md").read_text().split())
    assert f"the locked packages ({count}," in (ROOT / "Makefile").read_text()


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("program", "strangers"),
    [
        ("openmaas.cli.serve", "fastapi prometheus_client xllamacpp openmaas.cli.ledger"),
        ("openmaas.house.relay", "fastapi click xllamacpp"),
        ("openmaas.house.poster", "fastapi click prometheus_client"),
        ("openmaas.house.jobs", "fastapi click prometheus_client xllamacpp"),
        ("openmaas.house.control", "prometheus_client xllamacpp"),
        ("openmaas.engines.llama.engine", "sqlalchemy cryptography fastapi click"),
    ],
)
def test_a_program_starts_without_what_only_others_need(program: str, strangers: str) -> None:
    command = [sys.executable, "-c", f"import sys, {program}; print(*sys.modules)"]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {*strangers.split(), "sqlalchemy.dialects.postgresql"} & {*imported}


def test_an_engine_and_the_relay_give_an_error_the_same_status() -> None:
    refusals = (e.BodyInvalid, e.ContextExceeded, e.FieldInvalid, e.Malformed, e.ModelUnknown, e.PathUnknown)
    for kind in (*refusals, e.MethodUnknown, e.TooLarge, e.Draining, e.NoReplica):
        assert wire.status_of(kind()) == openai.status_of(kind())[0], kind


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_error_has_its_row_in_the_table_of_each_dialect(table: dict[type[e.OpenmaasError], object]) -> None:
    trunks = {e.OpenmaasError, e.Refused, e.Failed}
    for kind in set(all_errors()) - trunks:
        row = next(each for each in kind.__mro__ if each in table)
        assert row not in trunks, f"{kind.__name__} has no row, nor has what it is a kind of"


def test_a_dialect_has_a_table_of_errors_that_is_tested_here() -> None:
    folders = {path.parent.name for path in (ROOT / "src/openmaas/dialects").glob("*/errors.py")}
    assert folders == set(TABLES)


def test_zhipu_s_sentences_are_whole_in_both_languages() -> None:
    for kind in all_errors():
        for language, end in (("", "。"), ("zh", "。"), ("en", "."), ("fr", ".")):
            told = zhipu.told(kind(), language, Clock())
            assert str(told["message"]).endswith(end), (kind, told)
            assert str(told["code"]).isdecimal()


def test_every_error_has_a_code_and_a_message() -> None:
    for kind in all_errors():
        assert kind.code
        assert (kind.__doc__ or "").endswith(".")


HEAVY = {"glm", "oracle", "openvino"}  # 0.3 GB and more: the tests that want them are skipped without


def test_an_extra_locks_nothing_of_the_default_set_and_the_tests_have_every_extra() -> None:
    locks = {
        path.stem: set(re.findall(r"^([\w.-]+)==", path.read_text(), re.MULTILINE))
        for path in (ROOT / "requirements").glob("*.txt")
    }
    serve = locks.pop("serve")
    assert (
        locks.keys() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    )
    for extra, added in locks.items():
        assert added, extra
        assert not added & serve, extra
        assert extra in HEAVY or added <= locks["dev"], extra


def test_a_package_is_pinned_to_one_version_whatever_is_installed_together() -> None:
    """A lock holds what it adds to the default one, with digests."""
    pins: dict[str, set[str]] = {}
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text()
        found = re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==(\S+) \\$", text, re.MULTILINE)
        assert len(found) == len(re.findall(r"^[a-z]", text, re.MULTILINE)), f"{path.name} has a line without a digest"
        assert path.name == "serve.txt" or text.startswith("-r serve.txt\n"), path.name
        for name, version in found:
            pins.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
