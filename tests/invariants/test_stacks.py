"""No stack file, fixture or variant violates an invariant."""

from __future__ import annotations

import pytest

from tests.invariants import find_violations
from tests.rehearsals import (
    FIXTURES,
    STACKS,
    VARIANTS,
    rehearsed_fixture,
    rehearsed_stack,
    rehearsed_variant,
)


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_file_of_the_repository_violates_no_invariant(stack: str) -> None:
    assert find_violations(rehearsed_stack(stack).recording) == []


@pytest.mark.parametrize("name", FIXTURES)
def test_a_valid_fixture_violates_no_invariant(name: str) -> None:
    found = rehearsed_fixture(name)
    assert found.problems == []
    assert find_violations(found.recording) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_violates_no_invariant(name: str) -> None:
    assert find_violations(rehearsed_variant(name).recording) == []
