"""Output of the findings: grouped lines of text, or one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from doctor.all_checks import CheckFindings, worst_result
from doctor.findings import Finding, Result
from settings.wording import count

STYLES = {
    Result.OK: "green",
    Result.NOTE: "cyan",
    Result.WARNING: "yellow",
    Result.FAILURE: "bold red",
}


def as_json(stack: str, checks: Sequence[CheckFindings]) -> dict[str, Any]:
    """The findings as one JSON object; docs/doctor.md documents its keys."""
    return {
        "stack": stack,
        "result": str(worst_result(checks)),
        "findings": [
            {
                "group": check.group,
                "check": check.check,
                "result": str(finding.result),
                "subject": finding.subject,
                "text": finding.text,
                "fix": finding.fix,
            }
            for check in checks
            for finding in check.findings
        ],
    }


def show(checks: Sequence[CheckFindings], console: Console, *, brief: bool = False) -> None:
    """Print all findings, or with ``brief`` only warnings and failures; then print the totals."""
    for group, members in groupby(checks, key=lambda check: check.group):
        findings = [finding for check in members for finding in check.findings]
        if brief:
            findings = [it for it in findings if it.result in (Result.WARNING, Result.FAILURE)]
        if findings:
            console.print(Text(group, style="bold"))
            console.print(Padding(_findings_table(findings), (0, 0, 0, 2)))
    console.print(_totals(checks))


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.result]
        table.add_row(Text(finding.result, style=style), f"{finding.subject} {finding.text}")
        if finding.fix:
            table.add_row("", Text(f"-> {finding.fix}"))
    return table


def _totals(checks: Sequence[CheckFindings]) -> Text:
    numbers = Counter(finding.result for check in checks for finding in check.findings)
    parts = [
        count(numbers[result], noun)
        for result, noun in ((Result.FAILURE, "failure"), (Result.WARNING, "warning"))
        if numbers[result]
    ]
    rest = f"{numbers[Result.OK]} ok, {count(numbers[Result.NOTE], 'note')}"
    return Text(", ".join([*parts, rest]), style=STYLES[worst_result(checks)])
