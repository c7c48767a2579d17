"""Generates mutants: variants of a module, each with one small fault.

The faults are of the kinds that a careless edit makes: another number or string, an inverted
condition, a removed argument, element or statement. Docstrings, type annotations, decorators,
assertions and the wording of messages are never changed.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SWAPPED: dict[type[ast.AST], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.And: "or",
    ast.Or: "and",
}
"""Each operator, and the text of the operator that replaces it."""
_NEGATIONS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
"""Operators whose swap inverts the condition, so that another inversion would be the same."""
_MESSAGE = re.compile(r".*(Error|NotYet|Problem|Finding)|debug|info|warn|warning|error|print")
"""Names of functions and classes whose string arguments are messages for people."""


@dataclass(frozen=True)
class Mutant:
    """A module with one fault."""

    path: str
    """Path of the module, relative to the project folder."""
    lines: range
    """Lines of the statement, or of the header of the compound statement, that has the fault."""
    line: int
    """Line of the fault."""
    kind: str
    """Kind of the fault: ``number``, ``string``, ``removed keyword`` and so on."""
    function: str
    """Qualified name of the function with the fault. Empty for what runs during the import."""
    target: str
    """Name to which a statement outside functions assigns, if there is one."""
    source: str
    """The original text of the module."""
    start: int
    """Index of the first replaced byte."""
    end: int
    """Index after the last replaced byte."""
    replacement: str

    @property
    def text(self) -> str:
        """The text of the module with the fault."""
        data = self.source.encode()
        return (data[: self.start] + self.replacement.encode() + data[self.end :]).decode()

    @property
    def diff(self) -> str:
        """The changed lines: ``-`` before, ``+`` after."""
        lines = difflib.unified_diff(
            self.source.splitlines(), self.text.splitlines(), lineterm="", n=0
        )
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))

    @property
    def identity(self) -> str:
        """What is the same in two versions of the program, if only other lines changed."""
        return f"{self.path} {self.function} {self.kind}\n{self.diff}"


def find_mutants(path: str, source: str) -> list[Mutant]:
    """Return all mutants of the module ``path``. Each has the syntax of Python."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return [it for it in finder.mutants if it.text != source and _parses(it.text)]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Finder(ast.NodeVisitor):
    """Visits a module, and adds a mutant for each fault to ``mutants``."""

    def __init__(self, path: str, source: str) -> None:
        self.mutants: list[Mutant] = []
        self._path = path
        self._source = source
        self._data = source.encode()
        self._offsets = [0]
        for line in self._data.splitlines(keepends=True):
            self._offsets.append(self._offsets[-1] + len(line))
        self._scopes: list[str] = []
        self._functions = 0
        self._last_statements: set[ast.stmt] = set()
        self._lines = range(0)
        self._target = ""
        self._in_message = False

    # Positions ------------------------------------------------------------------------------------

    def _start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self._offsets[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._offsets[node.end_lineno - 1] + node.end_col_offset

    def _segment(self, node: ast.expr) -> str:
        return self._data[self._start(node) : self._end(node)].decode()

    def _add(self, kind: str, start: int, end: int, replacement: str) -> None:
        self.mutants.append(
            Mutant(
                path=self._path,
                lines=self._lines,
                line=self._data.count(b"\n", 0, start) + 1,
                kind=kind,
                function=".".join(self._scopes) if self._functions else "",
                target="" if self._functions else self._target,
                source=self._source,
                start=start,
                end=end,
                replacement=replacement,
            )
        )

    def _replace(self, kind: str, node: ast.expr | ast.stmt, replacement: str) -> None:
        self._add(kind, self._start(node), self._end(node), replacement)

    def _remove_one_of(
        self, kind: str, spans: Sequence[tuple[int, int]], removable: Iterable[int]
    ) -> None:
        """Add a mutant without the element, for each index in ``removable``."""
        for index in removable:
            start, end = spans[index]
            if index + 1 < len(spans):
                end = spans[index + 1][0]
            elif index:
                start = spans[index - 1][1]
            else:  # the only element, perhaps with a comma after it
                comma = re.match(rb"\s*,", self._data[end:])
                end += comma.end() if comma else 0
            self._add(kind, start, end, "")

    # Statements -----------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        """Visit a node. A statement sets the lines and the target of the mutants in it."""
        if not isinstance(node, ast.stmt):
            super().visit(node)
            return
        before = self._lines, self._target
        body = getattr(node, "body", None)
        end = body[0].lineno - 1 if body else node.end_lineno
        self._lines = range(node.lineno, max(end or 0, node.lineno) + 1)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        self._target = targets[0].id if isinstance(targets[0], ast.Name) else ""
        super().visit(node)
        self._lines, self._target = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self._scopes.append(node.name)
        self._functions += 1
        self._last_statements.add(node.body[-1])
        for statement in node.body:
            self.visit(statement)
        self._functions -= 1
        self._scopes.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scopes.append(node.name)
        for part in [*node.keywords, *node.body]:
            self.visit(part)
        self._scopes.pop()

    def visit_Import(self, node: ast.Import) -> None:
        """Change no import."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Change no import."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Change no assertion: it only tells readers and mypy what is always true."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if not self._segment(node.value).startswith("super().__init__"):
            self._replace("removed statement", node, "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace("removed statement", node, "pass")

    def visit_Return(self, node: ast.Return) -> None:
        if node not in self._last_statements:  # without the last one it would return None
            self._replace("removed statement", node, "pass")
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace("removed statement", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace("removed statement", node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace("removed statement", node, "pass")

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            self._replace("removed statement", node, "pass")
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in ast.walk(node.annotation):
            if isinstance(part, ast.Call):  # Annotated[int, Field(ge=1)]: a limit, not a type
                self.visit(part)
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace("removed statement", node, "pass")
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._invert(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._invert(node.test)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        for statement in node.body:
            self.visit(statement)

    # Expressions ----------------------------------------------------------------------------------

    def _invert(self, test: ast.expr) -> None:
        is_inverted_elsewhere = (
            isinstance(test, ast.Compare) and isinstance(test.ops[0], _NEGATIONS)
        ) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
        if not is_inverted_elsewhere and not isinstance(test, ast.Constant):
            self._replace("inverted condition", test, f"not ({self._segment(test)})")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._invert(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._invert(test)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace("inverted condition", node, f"({self._segment(node.operand)})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._operator(left, operator, right)
        for operand in operands:
            if isinstance(operand, ast.Tuple):
                self._tuple(operand)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        joined = f" {_SWAPPED[type(node.op)]} ".join(f"({self._segment(it)})" for it in node.values)
        self._replace("operator", node, f"({joined})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _SWAPPED:
            self._operator(node.left, node.op, node.right)
        self.generic_visit(node)

    def _operator(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> None:
        """Swap the operator between two operands, and keep the parentheses around them."""
        start, end = self._end(left), self._start(right)
        between = self._data[start:end].decode()
        swapped, count = re.subn(r"[^\s()#]+(\s[^\s()#]+)?", _SWAPPED[type(operator)], between)
        if count == 1:
            self._add("operator", start, end, swapped)

    def visit_Call(self, node: ast.Call) -> None:
        arguments: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        parts = sorted(arguments, key=self._start)
        self._remove_one_of(
            "removed keyword",
            [(self._start(it), self._end(it)) for it in parts],
            [i for i, it in enumerate(parts) if isinstance(it, ast.keyword) and it.arg],
        )
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        before, self._in_message = self._in_message, bool(_MESSAGE.fullmatch(name))
        self.generic_visit(node)
        self._in_message = before

    def visit_List(self, node: ast.List) -> None:
        spans = [(self._start(it), self._end(it)) for it in node.elts]
        self._remove_one_of("removed element", spans, range(len(spans)))
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        spans = [(self._start(it), self._end(it)) for it in node.elts]
        self._remove_one_of("removed element", spans, range(len(spans)) if len(spans) > 1 else ())
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if all(node.keys):
            spans = [
                (self._start(key), self._end(value))
                for key, value in zip(node.keys, node.values, strict=True)
                if key is not None
            ]
            self._remove_one_of("removed element", spans, range(len(spans)))
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        if not self._functions:
            self._tuple(node)
        self.generic_visit(node)

    def _tuple(self, node: ast.Tuple) -> None:
        """Remove each element of a tuple that is a set of values, not a fixed number of them."""
        if len(node.elts) > 2:
            spans = [(self._start(it), self._end(it)) for it in node.elts]
            self._remove_one_of("removed element", spans, range(len(spans)))
            return
        texts = [self._segment(it) for it in node.elts]
        for index in range(len(texts)):
            others = ", ".join(texts[:index] + texts[index + 1 :])
            self._replace("removed element", node, f"({others},)" if others else "()")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if isinstance(node.slice, ast.Tuple):  # Annotated[int, Field(ge=1)]
            self.generic_visit(node.slice)
        elif not isinstance(node.slice, ast.Constant | ast.JoinedStr):
            self.visit(node.slice)  # another key would only raise KeyError

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # Python 3.11 does not know the positions inside an f-string.
        texts = [str(it.value) for it in node.values if isinstance(it, ast.Constant)]
        if not self._in_message and not re.search(r"\s", "".join(texts)):
            self._replace("string", node, f"({self._segment(node)} + '_')")

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace("boolean", node, repr(not value))
        elif isinstance(value, int | float):
            self._replace("number", node, repr(value + 1))
        elif isinstance(value, str) and not self._in_message and not re.search(r"\s", value):
            self._replace("string", node, repr(value + "_"))
