"""Build the report of a stack from the rehearsal, the Pulumi state and the records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients.pulumi_cli import cli
from clients.pulumi_cli.session import PulumiError, StackReader
from commands import acme_record, last_up
from doctor import storage_record
from preflight.state import running_stack
from rehearsal.run import Rehearsal
from report import certificates, model, network, timeline, versions
from report.storage import build_storage
from settings.models import Settings
from settings.node import Role
from settings.project import PROJECT_FOLDER


def build_report(rehearsal: Rehearsal, project: Path = PROJECT_FOLDER) -> model.Report:
    """Build the report of a rehearsed stack; ``project`` is the folder with its state."""
    now = datetime.now(UTC).replace(microsecond=0)
    resources, reason = _read_state(project, rehearsal.stack)
    # The report shows an existing VM on its current host, and other VMs on their planned hosts.
    running = running_stack((it["type"], it.get("outputs", {})) for it in resources)
    rehearsal = replace(rehearsal, settings=rehearsal.settings.with_running(running))
    settings = rehearsal.settings
    return model.Report(
        stack=rehearsal.stack,
        cluster=settings.cluster.name,
        made=now,
        totals=_build_totals(rehearsal),
        network=network.build_network(settings),
        hosts=_build_hosts(settings),
        storage=build_storage(settings, storage_record.load(project, rehearsal.stack)),
        timeline=timeline.build_timeline(
            rehearsal.recording, last_up.load(project, rehearsal.stack)
        ),
        versions=versions.list_versions(settings),
        certificates=_read_certificates(project, settings, now, resources, reason),
        problems=tuple(rehearsal.problems),
        notes=tuple(rehearsal.notes),
    )


def _read_state(project: Path, stack: str) -> tuple[list[dict[str, Any]], str]:
    """Read the resources of the state; if this fails, return an empty list and the reason."""
    try:
        return StackReader(cli.installed(), stack, project).resources(), ""
    except PulumiError as error:
        return [], f"the state cannot be read: {error.without_output}"


def _read_certificates(
    project: Path,
    settings: Settings,
    now: datetime,
    resources: list[dict[str, Any]],
    reason: str,
) -> model.Certificates:
    if reason:
        return model.Certificates(found=(), reason=reason)
    signed = acme_record.load(project, settings.stack)
    server = settings.traefik.acme.server
    return certificates.build_certificates(resources, signed, server, now)


def _build_hosts(settings: Settings) -> tuple[model.Host, ...]:
    """All hosts of the settings, then other hosts on which VMs of the stack are now."""
    names = dict.fromkeys([*settings.proxmox.hosts, *(node.host for node in settings.machines)])
    hosts = []
    for name in names:
        nodes = [node for node in settings.machines if node.host == name]
        machines = tuple(
            model.Machine(
                name=node.name,
                role=node.role.value,
                address=str(node.address),
                vm_id=node.vm_id,
                cores=node.cores,
                memory_mib=node.memory_mib,
                os_disk_gib=node.os_disk_gib,
                data_disk_gib=node.data_disk_gib,
            )
            for node in nodes
        )
        hosts.append(
            model.Host(
                name=name,
                cores=sum(node.cores for node in nodes),
                memory_mib=sum(node.memory_mib for node in nodes),
                disk_gib=sum(node.os_disk_gib + (node.data_disk_gib or 0) for node in nodes),
                machines=machines,
            )
        )
    return tuple(hosts)


def _build_totals(rehearsal: Rehearsal) -> model.Totals:
    settings = rehearsal.settings
    hosts = _build_hosts(settings)
    return model.Totals(
        hosts=len(hosts),
        control_planes=sum(node.role is Role.CONTROL_PLANE for node in settings.machines),
        workers=sum(node.role is Role.WORKER for node in settings.machines),
        cores=sum(host.cores for host in hosts),
        memory_mib=sum(host.memory_mib for host in hosts),
        disk_gib=sum(host.disk_gib for host in hosts),
        replicas=settings.replicas,
        resources=len(rehearsal.recording.resources),
    )
