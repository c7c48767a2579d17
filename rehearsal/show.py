"""Draws a rehearsal in the terminal: tree, address plan, timeline, and what to open at the end."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rehearsal import timeline
from rehearsal.record import Resource
from rehearsal.report import addresses
from rehearsal.run import Rehearsal
from rehearsal.values import mask

CHART_WIDTH = 48
"""Columns of the timeline's bars."""


def show(found: Rehearsal, console: Console) -> None:
    """Everything, for a person."""
    console.print(_tree(found))
    console.print(_address_plan(found))
    console.print(_timeline(found))
    console.print(_down(found))
    console.print(Text(f"As a page: make report STACK={found.stack}", style="dim"))
    for note in found.notes:
        console.print(Text("note  ", style="yellow") + Text(note))
    if found.problems:
        console.print(f"[bold red]{len(found.problems)} would be refused:[/]")
        for problem in found.problems:
            console.print(Text("  ") + Text(str(problem)))
        return
    outputs = mask(found.recording.outputs)
    console.print(
        f"[bold green]Nothing would be refused.[/] At the end you would open "
        f"[bold]{escape(str(outputs['url']))}[/] "
        f"(forward 80 and 443 of the router to {escape(str(outputs['ingress_address']))}); "
        f"kubectl talks to {escape(str(outputs['api_endpoint']))}."
    )


def _kind(resource: Resource) -> str:
    return resource.type.rpartition(":")[2]


def _tree(found: Rehearsal) -> Tree:
    tree = Tree(
        f"[bold]up[/] of stack {escape(found.stack)}: {len(found.recording.resources)} resources"
    )
    branches: dict[str | None, Tree] = {}
    path = {resource.urn for resource in timeline.critical_path(found.recording)}
    for resource in timeline.order_up(found.recording):
        mark = "[red]*[/] " if resource.urn in path else ""
        label = f"{mark}{escape(resource.name)} [dim]{escape(_kind(resource))}[/]"
        if resource.custom:
            label += f" [dim]{resource.start:.0f}-{resource.end:.0f} s[/]"
        branches[resource.urn] = branches.get(resource.parent, tree).add(label)
    return tree


def _address_plan(found: Rehearsal) -> Table:
    table = Table(title=f"Addresses in {found.settings.network.cidr}", box=box.SIMPLE)
    table.add_column("address", no_wrap=True)
    table.add_column("owner")
    for entry in addresses(found):
        table.add_row(entry["address"], entry["owner"])
    return table


def _timeline(found: Rehearsal) -> Table:
    path = {resource.urn for resource in timeline.critical_path(found.recording)}
    end = max((resource.end for resource in found.recording.resources), default=1.0) or 1.0
    table = Table(
        title=f"Timeline, nominal: {end / 60:.0f} min; the critical path is marked *",
        box=box.SIMPLE,
    )
    table.add_column("resource", no_wrap=True, overflow="ellipsis")
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for resource in timeline.order_up(found.recording):
        if not resource.custom or resource.start == resource.end:
            continue
        begin = round(resource.start / end * CHART_WIDTH)
        length = max(1, round((resource.end - resource.start) / end * CHART_WIDTH))
        critical = resource.urn in path
        bar = Text(" " * begin) + Text("█" * length, style="red" if critical else "blue")
        name = ("* " if critical else "  ") + resource.name
        table.add_row(name, f"{resource.end - resource.start:.0f}", bar)
    return table


def _down(found: Rehearsal) -> Text:
    order = [resource for resource in timeline.order_down(found.recording) if resource.custom]
    asked = [r for r in order if not r.deleted_with and not r.type.startswith("pulumi:providers:")]
    names = ", ".join(resource.name for resource in asked)
    return Text(
        f"down: {len(order)} resources go, {len(order) - len(asked)} of them along with what "
        f"carries them; in turn: {names}",
        style="dim",
    )
