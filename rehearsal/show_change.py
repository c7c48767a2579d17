"""Prints what an ``up`` changes between two stack files, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rehearsal.change import Change, Step

_MARKS = {"create": "+", "update": "~", "replace": "+-", "delete": "-"}
_COLOURS = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red"}


def as_json(change: Change) -> dict[str, Any]:
    """Return the comparison for ``--json``; docs/rehearsal.md documents the keys."""
    return {
        "stack": change.new.stack,
        "steps": [_step(step) for step in change.steps],
        "interruptions": [
            {
                "name": step.effect.interrupts,
                "drained": step.effect.drains,
                "stage": step.stage,
            }
            for step in _interruptions(change)
        ],
        "notes": change.new.notes + change.notes,
        "problems": [asdict(problem) for problem in change.problems],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "what": step.operation,
        "urn": step.resource.urn,
        "name": step.resource.name,
        "inputs": list(step.inputs),
        "says": step.effect.message,
        "node": step.effect.node,
        "stage": step.stage,
    }


def show(change: Change, source: str, console: Console) -> None:
    """Print the comparison; ``source`` is the name of the old stack file."""
    if change.problems:
        console.print(f"[bold red]Problems: {len(change.problems)}[/]")
        for problem in change.problems:
            console.print(Text("  ") + Text(str(problem)))
        return
    if not change.steps:
        console.print(f"[bold green]No changes[/] compared with {escape(source)}.")
        return
    console.print(_steps_table(change, source))
    console.print(_interruptions_table(change))
    for note in change.new.notes + change.notes:
        console.print(Text("note  ", style="yellow") + Text(note))
    console.print(
        "Steps of one stage may run at the same time. Run "
        f"`make preview STACK={change.new.stack}` to include manual changes and unfinished runs.",
        style="dim",
        markup=False,
    )


def _steps_table(change: Change, source: str) -> Table:
    table = Table(
        title=f"up of stack {change.new.stack}, compared with {escape(source)}: "
        f"{', '.join(_counts(change))}",
        box=box.SIMPLE,
    )
    table.add_column("stage", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("resource", no_wrap=True, overflow="ellipsis")
    table.add_column("effect")
    for step in change.steps:
        message = step.effect.message
        if step.inputs and not step.effect.node:
            message += f" [{', '.join(step.inputs)}]"
        mark = Text(_MARKS[step.operation], style=_COLOURS[step.operation])
        table.add_row(str(step.stage), mark, Text(step.resource.name), Text(message))
    return table


def _counts(change: Change) -> Iterator[str]:
    words = {
        "create": "created",
        "update": "updated",
        "replace": "replaced",
        "delete": "deleted",
    }
    for operation, word in words.items():
        if count := sum(step.operation == operation for step in change.steps):
            yield f"{count} {word}"


def _interruptions(change: Change) -> list[Step]:
    return [step for step in change.steps if step.effect.interrupts]


def _interruptions_table(change: Change) -> Table | Text:
    steps = _interruptions(change)
    if not steps:
        return Text("No node and no service goes down.")
    table = Table(title="Goes down, in this order", box=box.SIMPLE)
    table.add_column("stage", justify="right", no_wrap=True)
    table.add_column("node or service")
    table.add_column("drained first", no_wrap=True)
    for step in steps:
        drained = "yes" if step.effect.drains else "no"
        table.add_row(str(step.stage), Text(step.effect.interrupts), drained)
    return table
