"""Prints a rehearsal as text (resource tree, address plan, timeline and problems) or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rehearsal import timeline
from rehearsal.record import Resource
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
    called = [resource for resource in order if resource.is_managed and not resource.deleted_with]
    names = ", ".join(resource.name for resource in called)
    return Text(
        f"down deletes {len(order)} resources, {len(order) - len(called)} of them together with "
        f"another resource (deletedWith). Order of the others: {names}",
        style="dim",
    )


def as_json(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return the rehearsal for ``--json``, secrets masked; docs/rehearsal.md documents the keys."""
    recording = rehearsal.recording
    return {
        "stack": rehearsal.stack,
        "resources": [_resource(resource) for resource in recording.resources],
        "up": [resource.urn for resource in timeline.order_up(recording)],
        "down": [resource.urn for resource in timeline.order_down(recording)],
        "criticalPath": [resource.urn for resource in timeline.critical_path(recording)],
        "addresses": addresses(rehearsal),
        "outputs": mask(recording.outputs),
        "notes": rehearsal.notes,
        "problems": [asdict(problem) for problem in rehearsal.problems],
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "urn": resource.urn,
        "type": resource.type,
        "name": resource.name,
        "parent": resource.parent,
        "provider": resource.provider,
        "dependencies": list(resource.dependencies),
        "propertyDependencies": {
            name: list(urns) for name, urns in resource.property_dependencies.items()
        },
        "deletedWith": resource.deleted_with,
        "ignoreChanges": list(resource.ignore_changes),
        "inputs": mask(dict(resource.inputs)),
        "start": resource.start,
        "end": resource.end,
    }


def addresses(rehearsal: Rehearsal) -> list[dict[str, str]]:
    """Return the address plan: addresses and their owners, sorted by address."""
    settings = rehearsal.settings
    plan = [(settings.network.gateway, str(settings.network.gateway), "gateway")]
    if settings.network.dhcp:
        dhcp = settings.network.dhcp
        plan.append((dhcp.first, str(dhcp), "router's DHCP range"))
    plan += [(node.address, str(node.address), node.name) for node in settings.machines]
    plan.append((settings.cluster.vip, str(settings.cluster.vip), "VIP, Kubernetes API"))
    pool = settings.metallb.pool
    plan.append((pool.first, str(pool), "MetalLB pool"))
    plan.append((settings.ingress_address, str(settings.ingress_address), "ingress, 80 and 443"))
    return [{"address": text, "owner": owner} for _, text, owner in sorted(plan)]
