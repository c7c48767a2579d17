"""Disk selectors: the part of CEL that chooses a disk by its size, kind or name.

``!system_disk && disk.size >= 43u * GiB`` and the like: names, numbers, strings, comparisons,
``+ - *``, ``! && ||`` and brackets. Functions, lists and the rest of CEL are refused.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_UNITS = {
    name: base**power
    for base, names in ((1024, ("KiB", "MiB", "GiB", "TiB")), (1000, ("KB", "MB", "GB", "TB")))
    for power, name in enumerate(names, start=1)
}
_TOKENS = re.compile(
    r"""(?P<string>"[^"]*"|'[^']*')|(?P<uint>\d+)u\b|(?P<and>&&)|(?P<or>\|\|)"""
    r"""|(?P<not>!(?!=))|(?P<bool>\b(?:true|false)\b)"""
)
_PYTHON = {"and": " and ", "or": " or ", "not": " not "}
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


class SelectorError(ValueError):
    """The expression is wrong, or more than this module understands."""


def matches(expression: str, disk: Mapping[str, object], *, system_disk: bool) -> bool:
    """Tell whether a disk is selected; ``disk`` holds the fields that CEL sees."""
    try:
        tree = ast.parse(_TOKENS.sub(_translate, expression).strip(), mode="eval")
    except SyntaxError as error:
        raise SelectorError(f"{expression!r}: {error.msg}") from None
    names = {**_UNITS, "system_disk": system_disk, "disk": disk}
    value = _evaluate(tree.body, names, expression)
    if not isinstance(value, bool):
        raise SelectorError(f"{expression!r}: the result is not a boolean")
    return value


def _translate(match: re.Match[str]) -> str:
    if match["bool"]:
        return match["bool"].capitalize()
    return match["string"] or match["uint"] or _PYTHON[str(match.lastgroup)]


def _evaluate(node: ast.expr, names: Mapping[str, object], expression: str) -> Any:
    def value(child: ast.expr) -> Any:
        return _evaluate(child, names, expression)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Attribute(value=ast.Name(id="disk"), attr=field):
            disk = names["disk"]
            if isinstance(disk, Mapping) and field in disk:
                return disk[field]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value(operand)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(value(child) for child in values)
        case ast.BoolOp(values=values):
            return any(value(child) for child in values)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(left), value(right))
    raise SelectorError(f"{expression!r}: cannot evaluate {ast.unparse(node)!r}")
