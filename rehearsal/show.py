"""Prints a rehearsal in the terminal: resource tree, address plan, timeline and problems."""

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
"""Width of the timeline's bars in characters."""


def show(rehearsal: Rehearsal, console: Console) -> None:
    """Print the rehearsal."""
    console.print(_tree(rehearsal))
    console.print(_address_plan(rehearsal))
    console.print(_timeline(rehearsal))
    console.print(_deletion_order(rehearsal))
    console.print(Text(f"Write this as a page: make report STACK={rehearsal.stack}", style="dim"))
    for note in rehearsal.notes:
        console.print(Text("note  ", style="yellow") + Text(note))
    if rehearsal.problems:
        console.print(f"[bold red]Problems: {len(rehearsal.problems)}[/]")
        for problem in rehearsal.problems:
            console.print(Text("  ") + Text(str(problem)))
        return
    outputs = mask(rehearsal.recording.outputs)
    console.print(
        f"[bold green]No problems.[/] After `make up` the demo site is at "
        f"[bold]{escape(str(outputs['url']))}[/] (forward ports 80 and 443 of the router to "
        f"{escape(str(outputs['ingress_address']))}), and the Kubernetes API at "
        f"{escape(str(outputs['api_endpoint']))}."
    )


def _kind(resource: Resource) -> str:
    return resource.type.rpartition(":")[2]


def _tree(rehearsal: Rehearsal) -> Tree:
    count = len(rehearsal.recording.resources)
    tree = Tree(f"[bold]up[/] of stack {escape(rehearsal.stack)}: {count} resources")
    branches: dict[str | None, Tree] = {}
    path = {resource.urn for resource in timeline.critical_path(rehearsal.recording)}
    for resource in timeline.order_up(rehearsal.recording):
        mark = "[red]*[/] " if resource.urn in path else ""
        label = f"{mark}{escape(resource.name)} [dim]{escape(_kind(resource))}[/]"
        if resource.custom:
            label += f" [dim]{resource.start:.0f}-{resource.end:.0f} s[/]"
        branches[resource.urn] = branches.get(resource.parent, tree).add(label)
    return tree


def _address_plan(rehearsal: Rehearsal) -> Table:
    table = Table(title=f"Addresses in {rehearsal.settings.network.cidr}", box=box.SIMPLE)
    table.add_column("address", no_wrap=True)
    table.add_column("owner")
    for entry in addresses(rehearsal):
        table.add_row(entry["address"], entry["owner"])
    return table


def _timeline(rehearsal: Rehearsal) -> Table:
    path = {resource.urn for resource in timeline.critical_path(rehearsal.recording)}
    end = max((resource.end for resource in rehearsal.recording.resources), default=1.0) or 1.0
    table = Table(
        title=f"Timeline, estimated: {end / 60:.0f} min; * marks the critical path",
        box=box.SIMPLE,
    )
    table.add_column("resource", no_wrap=True, overflow="ellipsis")
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for resource in timeline.order_up(rehearsal.recording):
        if not resource.custom or resource.start == resource.end:
            continue
        offset = round(resource.start / end * CHART_WIDTH)
        length = max(1, round((resource.end - resource.start) / end * CHART_WIDTH))
        critical = resource.urn in path
        bar = Text(" " * offset) + Text("█" * length, style="red" if critical else "blue")
        name = ("* " if critical else "  ") + resource.name
        table.add_row(name, f"{resource.end - resource.start:.0f}", bar)
    return table


def _deletion_order(rehearsal: Rehearsal) -> Text:
    order = [resource for resource in timeline.order_down(rehearsal.recording) if resource.custom]
    called = [r for r in order if not r.deleted_with and not r.type.startswith("pulumi:providers:")]
    names = ", ".join(resource.name for resource in called)
    return Text(
        f"down deletes {len(order)} resources, {len(order) - len(called)} of them together with "
        f"another resource (deletedWith). Order of the others: {names}",
        style="dim",
    )
