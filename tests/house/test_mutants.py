"""The list of mutants stays true: each of their texts stands once in the sources, and each has tests that are there."""

from __future__ import annotations

import pytest

from mutants import TESTS, Mutant, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_the_text_of_a_mutant_stands_once_in_its_file(mutant: Mutant) -> None:
    assert mutant.count() == 1
    assert mutant.old != mutant.new
    assert all((TESTS / test).exists() for test in mutant.tests)


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in mutants()]
    assert len(set(names)) == len(names) >= 120
