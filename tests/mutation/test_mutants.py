"""The mutants that are tried: what is changed in a module, and what is not."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from tests.mutation import mutants
from tests.mutation.mutants import find_mutants


def changes(source: str) -> list[str]:
    """Return the new lines of all mutants."""
    return [
        line[1:].strip()
        for mutant in find_mutants("module.py", dedent(source))
        for line in mutant.diff.splitlines()
        if line.startswith("+")
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 30", ["x = 31"]),
        ("x = True", ["x = False"]),
        ("x = 'q35'", ["x = 'q35_'"]),
        ("x = f'{y}-pool'", ["x = (f'{y}-pool' + '_')"]),
        ("x = a < b", ["x = a <= b"]),
        ("x = a not in b", ["x = a in b"]),
        ("x = a and b or c", ["x = ((a and b) and (c))", "x = ((a) or (b)) or c"]),
        ("x = not a", ["x = (a)"]),
        ("x = f(a, b=c, d=e)", ["x = f(a, d=e)", "x = f(a, b=c)"]),
        ("x = f(a=b,)", ["x = f()"]),
        ("x = [a, b]", ["x = [b]", "x = [a]"]),
        ("x = (a, b)", ["x = (b,)", "x = (a,)"]),
        ("x = {a: b, c: d}", ["x = {c: d}", "x = {a: b}"]),
        ("f(a)", ["pass"]),
        ("x.y = a", ["pass"]),
        ("x += a", ["pass"]),
        ("if a:\n    b()", ["if not (a):", "pass"]),
        ("x = [a for a in b if c]", ["x = [a for a in b if not (c)]"]),
        ("x: Annotated[int, Field(ge=y)] = a", ["x: Annotated[int, Field()] = a"]),
    ],
)
def test_each_kind_of_fault(source: str, expected: list[str]) -> None:
    assert sorted(changes(source)) == sorted(expected)


def test_texts_for_people_types_and_assertions_stay() -> None:
    source = '''
        """A docstring."""

        from a import b

        x: Literal["a", 1]
        """Another docstring."""

        @decorator("name", 1)
        def f(x: "int", y: Literal[2]) -> Literal[3]:
            """A third docstring."""
            assert x == 4
            yield Problem("path", "value", f"{x}-is", "a fix")
            raise OperationError("wrong", 5)
        '''
    assert changes(source) == ["pass", "pass"]


def test_a_guard_is_removed_but_not_the_last_return() -> None:
    source = """
        def f(x):
            if x:
                return a
            return b
        """
    assert changes(source) == ["if not (x):", "pass"]


def test_a_mutant_has_the_lines_of_its_statement_and_its_function() -> None:
    source = dedent(
        """
        LIMIT = 5

        class C:
            def f(self):
                return g(
                    a,
                    b=1,
                )
        """
    )
    constant, keyword, number = find_mutants("module.py", source)
    assert (constant.line, constant.function, constant.target) == (2, "", "LIMIT")
    assert (keyword.line, keyword.lines, keyword.function) == (7, range(6, 10), "C.f")
    assert (number.line, number.kind) == (8, "number")


def test_a_mutant_is_the_same_after_a_change_of_other_lines() -> None:
    (before,) = find_mutants("module.py", "x = 1\n")
    (after,) = find_mutants("module.py", "import y\n\nx = 1\n")
    assert before.identity == after.identity


def test_every_mutant_has_the_syntax_of_python() -> None:
    source = Path(mutants.__file__).read_text(encoding="utf-8")
    found = find_mutants("module.py", source)
    assert len(found) > 100
    for mutant in found:
        ast.parse(mutant.text)
        assert mutant.text != source
