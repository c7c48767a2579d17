"""Tells what an ``up`` would change between two stack files: for a person, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rehearsal import downtime
from rehearsal.change import Change, Step

_MARKS = {"create": "+", "update": "~", "replace": "+-", "delete": "-"}
_COLOURS = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red"}


def as_json(change: Change) -> dict[str, Any]:
    """The whole comparison; the keys are documented in docs/rehearsal.md."""
    return {
        "stack": change.new.stack,
        "steps": [_step(step) for step in change.steps],
        "seconds": change.seconds,
        "downtime": [asdict(it) for it in downtime.expected(change)],
        "notes": change.new.notes + change.notes,
        "problems": [asdict(problem) for problem in change.problems],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "what": step.what,
        "urn": step.resource.urn,
        "name": step.resource.name,
        "inputs": list(step.inputs),
        "says": step.effect.says,
        "node": step.effect.node,
        "start": step.start,
        "end": step.end,
    }


def show(change: Change, source: str, console: Console) -> None:
    """Everything, for a person; ``source`` is the old file."""
    if change.problems:
        console.print(f"[bold red]{len(change.problems)} would be refused:[/]")
        for problem in change.problems:
            console.print(Text("  ") + Text(str(problem)))
        return
    if not change.steps:
        console.print(f"[bold green]Nothing would change[/] from {escape(source)}.")
        return
    console.print(_table(change, source))
    console.print(_downtime(change))
    for note in change.new.notes + change.notes:
        console.print(Text("note  ", style="yellow") + Text(note))
    console.print(
        "All times are nominal. What was changed by hand, or is half done, only "
        f"`make preview STACK={change.new.stack}` knows.",
        style="dim",
        markup=False,
    )


def _table(change: Change, source: str) -> Table:
    table = Table(
        title=f"up of stack {change.new.stack}, coming from {escape(source)}: "
        f"{', '.join(_counts(change))}, about {max(1, round(change.seconds / 60))} min",
        box=box.SIMPLE,
    )
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("resource", no_wrap=True, overflow="ellipsis")
    table.add_column("what is done")
    for step in change.steps:
        at = f"{step.start:.0f} s"
        words = step.effect.says + (f" [{', '.join(step.inputs)}]" if _needs_inputs(step) else "")
        mark = Text(_MARKS[step.what], style=_COLOURS[step.what])
        table.add_row(at, mark, Text(step.resource.name), Text(words))
    return table


def _needs_inputs(step: Step) -> bool:
    """Whether the words alone do not say what changes."""
    return bool(step.inputs) and not step.effect.node


def _counts(change: Change) -> Iterator[str]:
    words = {"create": "made", "update": "changed", "replace": "made anew", "delete": "removed"}
    for what, word in words.items():
        if count := sum(step.what == what for step in change.steps):
            yield f"{count} {word}"


def _downtime(change: Change) -> Table:
    table = Table(title="Downtime to expect", box=box.SIMPLE)
    table.add_column("service", no_wrap=True)
    table.add_column("at most", justify="right", no_wrap=True)
    table.add_column("because")
    for it in downtime.expected(change):
        table.add_row(it.service, f"{it.seconds} s" if it.seconds else "none", it.says)
    return table
