"""``make mutants``: each named mistake of ``mutants.toml`` is made in a copy of the sources, and some test must notice.

A mutant is an exact text that occurs once in its file, and what stands there instead. Exit code 1 when one survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import msgspec

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "src"
TIMEOUT_S = 120


class Mutant(msgspec.Struct, frozen=True):
    """One mistake, and the tests that must notice it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def count(self) -> int:
        """How often its text occurs: once, or the list is out of date."""
        return (SOURCES / "openmaas" / self.file).read_text().count(self.old)

    def dies(self) -> bool:
        """True when a test fails, or hangs, in a copy that has the mistake."""
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            shutil.copytree(SOURCES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            path = Path(folder) / "openmaas" / self.file
            path.write_text(path.read_text().replace(self.old, self.new))
            return not passes(folder, self.tests)


def passes(sources: str, tests: tuple[str, ...]) -> bool:
    """True when all of ``tests`` pass on ``sources``, on SQLite."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-k", "not ostgresql"]
    command = [sys.executable, "-m", "pytest", *options, *[str(TESTS / name) for name in tests]]
    names = {**os.environ, "PYTHONPATH": sources, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=TESTS.parent, env=names, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    assert done.returncode in (0, 1), done.stdout.decode()[-2000:]  # 2 and above: the tests did not run
    return done.returncode == 0


def mutants() -> list[Mutant]:
    """The list."""
    found = tomllib.loads((TESTS / "mutants.toml").read_text())
    sets = found["tests"]
    rows = [[name, file, old, new, tuple(sets[tests])] for file, tests, name, old, new in found["mutants"]]
    return [Mutant(*row) for row in rows]


def main() -> None:
    """Make every mistake, one after the other."""
    wanted = [mutant for mutant in mutants() if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    stale = [mutant.name for mutant in wanted if mutant.count() != 1]
    assert not stale, f"out of date: {stale}"
    assert passes(str(SOURCES), tuple({test for mutant in wanted for test in mutant.tests})), (
        "they fail without a mutant"
    )
    survivors = []
    for mutant in wanted:
        died = mutant.dies()
        print(f"{'died' if died else 'SURVIVED'}  {mutant.name}", flush=True)
        survivors += [] if died else [mutant.name]
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} mutants died")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
