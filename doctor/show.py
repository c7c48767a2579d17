"""Tells what was found: grouped lines for a person, one object for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from doctor.examine import Examined, worst
from doctor.findings import Finding, Result
from settings.wording import count

STYLES = {
    Result.OK: "green",
    Result.NOTE: "cyan",
    Result.WARNING: "yellow",
    Result.FAILURE: "bold red",
}


def as_json(stack: str, examined: Sequence[Examined]) -> dict[str, Any]:
    """The same as the picture; the keys are documented in docs/doctor.md."""
    return {
        "stack": stack,
        "result": str(worst(examined)),
        "findings": [
            {
                "group": one.group,
                "check": one.check,
                "result": str(finding.result),
                "subject": finding.subject,
                "text": finding.text,
                "fix": finding.fix,
            }
            for one in examined
            for finding in one.findings
        ],
    }


def show(examined: Sequence[Examined], console: Console, *, brief: bool = False) -> None:
    """Every line, or with ``brief`` only what has to be done something about; then the sum."""
    for group, members in groupby(examined, key=lambda one: one.group):
        findings = [finding for one in members for finding in one.findings]
        if brief:
            findings = [it for it in findings if it.result in (Result.WARNING, Result.FAILURE)]
        if findings:
            console.print(Text(group, style="bold"))
            console.print(Padding(_lines(findings), (0, 0, 0, 2)))
    console.print(_sum(examined))


def _lines(findings: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.result]
        table.add_row(Text(finding.result, style=style), f"{finding.subject} {finding.text}")
        if finding.fix:
            table.add_row("", Text(f"-> {finding.fix}"))
    return table


def _sum(examined: Sequence[Examined]) -> Text:
    numbers = Counter(finding.result for one in examined for finding in one.findings)
    parts = [
        count(numbers[result], noun)
        for result, noun in ((Result.FAILURE, "failure"), (Result.WARNING, "warning"))
        if numbers[result]
    ]
    rest = f"{numbers[Result.OK]} ok, {count(numbers[Result.NOTE], 'note')}"
    return Text(", ".join([*parts, rest]), style=STYLES[worst(examined)])
