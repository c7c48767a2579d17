"""Reads the running stack from the Pulumi state, at the start of a preview and of an ``up``.

``read_running_stack`` calls ``pulumi:pulumi:readStackResourceOutputs`` of the engine, which returns
the outputs of every resource in the state, with secrets in plain text. This module drops the
secrets. The engine logs the answer only with ``-v=9``, which logs the secrets of every other call,
too.

The call is part of the engine, but not documented. If it fails, the module runs ``pulumi stack
export``, which is documented and about a second slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pulumi

from clients.pulumi_cli import cli
from clients.pulumi_cli.session import PulumiError, StackReader
from settings import resource_types
from settings.node import DATA_DISK, OS_DISK, Role
from settings.running import RunningMachine, RunningStack

INVOKE = "pulumi:pulumi:readStackResourceOutputs"


class StateError(pulumi.RunError):
    """The Pulumi state cannot be read. Pulumi shows a ``RunError`` without a traceback."""


def read_running_stack() -> RunningStack:
    """Read the running stack. Works only inside a program that Pulumi runs.

    Raises ``StateError`` if neither the engine nor the CLI returns the state, because without it
    the program cannot protect running nodes.
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    try:
        answer = pulumi.runtime.invoke(INVOKE, {"stackName": stack}).value
        outputs = [
            (resource["type"], resource["outputs"]) for resource in answer["outputs"].values()
        ]
    except Exception as error:
        pulumi.log.debug(f"{INVOKE} failed ({error}); reading the state with the Pulumi CLI")
        outputs = [
            (resource["type"], resource.get("outputs", {}))
            for resource in _export(stack, str(error))
        ]
    return running_stack(outputs)


def _export(stack: str, reason: str) -> list[dict[str, Any]]:
    """Read the resources of the state with the Pulumi CLI, with secrets as ciphertext."""
    try:
        return StackReader(cli.installed(), stack).resources()
    except PulumiError as error:
        raise StateError(
            f"The Pulumi state of {stack} cannot be read, so the program cannot check what runs. "
            f"Nothing has been changed. Error of the engine: {reason}. Error of the Pulumi "
            f"CLI: {error.without_output}. Correct the cause and run the command again."
        ) from None


def running_stack(outputs: Iterable[tuple[str, Mapping[str, Any]]]) -> RunningStack:
    """Build a ``RunningStack`` from the type and the outputs of every resource in a state."""
    by_type: dict[str, list[Mapping[str, Any]]] = {}
    for type_, found in outputs:
        # The module in the token of a dynamic resource may change, so only its name is the key.
        key = type_.rpartition(":")[2] if type_.startswith("pulumi-python:") else type_
        by_type.setdefault(key, []).append(found)

    def first(type_: str) -> Mapping[str, Any]:
        return next(iter(by_type.get(type_, ())), {})

    snapshot, kubernetes = first("EtcdSnapshot"), first("KubernetesVersion")
    return RunningStack(
        machines=_machines(by_type),
        talos=_text(snapshot.get("talos")),
        kubernetes=frozenset(
            version
            for upgrade in (snapshot, kubernetes)
            if (version := _text(upgrade.get("kubernetes")))
        ),
        charts={
            str(release["name"]): str(release["version"])
            for release in by_type.get(resource_types.RELEASE, ())
            if release.get("name") and release.get("version")
        },
        pool=_text(first(resource_types.MACHINE_POOL).get("poolId")),
        has_resources=any(map(resource_types.is_resource, by_type)),
        has_machine_secrets=resource_types.SECRETS in by_type,
        is_bootstrapped="Bootstrap" in by_type,
        restored_from=_text(first("Bootstrap").get("restored_from")),
        record=_plain(first("DeploymentRecord").get("record") or {}),
    )


def _machines(by_type: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, RunningMachine]:
    records = [resource.get("record") or {} for resource in by_type.get("DeploymentRecord", ())]
    ready = {
        name
        for readiness in by_type.get("ClusterReadiness", ())
        for name in readiness.get("nodes") or ()
    }
    ready |= {name for record in records for name in record.get("machines") or ()}
    is_restored = any(bootstrap.get("restored_from") for bootstrap in by_type.get("Bootstrap", ()))
    # In a running cluster, a node with a NodeLifecycle resource may be a member of etcd or store
    # copies of volumes, even if it is not in the readiness: the `up` that added it may have failed
    # before the node was ready, and an `up` that failed to remove it has already deleted its
    # machine config and its entry in the readiness.
    cluster_runs = bool(ready or is_restored or by_type.get(resource_types.RELEASE))
    nodes = [
        (resource.get("node") or {}, resource.get("cluster") or {})
        for resource in by_type.get("NodeLifecycle", ())
    ]
    talos = {node.get("name"): _text(cluster.get("talos")) for node, cluster in nodes}
    names = {_number(node.get("vm_id")): node.get("name") for node, _ in nodes}
    retained = {
        disk.get("node") for kind in ("KeptDisk", "RetainedDisk") for disk in by_type.get(kind, ())
    }
    machines = {}
    for outputs in by_type.get(resource_types.MACHINE, ()):
        vm = _vm(outputs)
        # After a refresh the state has the VM's name in Proxmox, which a user may have changed.
        name = str(names.get(vm.vm_id) or vm.name)
        machines[name] = replace(
            vm,
            name=name,
            talos=talos.get(name),
            retains_data_disk=name in retained,
            has_come_up=name in ready or (cluster_runs and name in talos),
        )
    # The engine returns resources in any order; messages list VMs in a fixed order.
    return dict(sorted(machines.items()))


def _vm(outputs: Mapping[str, Any]) -> RunningMachine:
    """Read a VM from the outputs of its resource. After a refresh some outputs may be missing."""
    disks = {disk.get("interface"): disk for disk in outputs.get("disks") or ()}
    os_disk, data_disk = disks.get(OS_DISK, {}), disks.get(DATA_DISK, {})
    configs = (outputs.get("initialization") or {}).get("ipConfigs") or [{}]
    address = (configs[0].get("ipv4") or {}).get("address")
    tags = set(outputs.get("tags") or ())
    return RunningMachine(
        name=str(outputs.get("name")),
        role=next((role for role in Role if role in tags), None),
        host=_text(outputs.get("nodeName")),
        vm_id=_number(outputs.get("vmId")),
        address=address and str(address).partition("/")[0],
        cores=_number((outputs.get("cpu") or {}).get("cores")),
        memory_mib=_number((outputs.get("memory") or {}).get("dedicated")),
        os_disk_gib=_number(os_disk.get("size")),
        data_disk_gib=_number(data_disk.get("size")),
        datastore=_text(os_disk.get("datastoreId")),
        pool=_text(outputs.get("poolId")),
    )


def _text(value: Any) -> str | None:
    """The value if it is a non-empty text, else None. A ciphertext is a mapping, so it is None."""
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _plain(value: Any) -> Any:
    """The record with whole numbers as ``int``; the engine returns every number as a float."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
