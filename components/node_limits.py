"""What a node that lives cannot become: it is refused before anything is touched.

The provider would try all the same: it pulls a data disk out of every running machine at once,
before anybody has asked Longhorn; it cannot move a disk of a machine that runs; and a machine
config that is sent to a new address finds nobody there. So a node's life says no, in a rehearsal
too; and before it, as its turn comes after its machine's, a hook of the machine (``survey.py``).
Leaves out what is refused of a whole castle, and of a kept disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_DISKS = {"os_disk_gib": "OS disk", "data_disk_gib": "data disk"}


def refusal(olds: Mapping[str, Any], news: Mapping[str, Any]) -> str | None:
    """All that ``news`` ask of a node that lives as ``olds``, and that cannot be; or nothing.

    Another VM id is another machine, of which anything may be asked.
    """
    if olds.get("vm_id") != news.get("vm_id"):
        return None
    found = [*_smaller_disks(olds, news), *_all_at_once(olds, news), *_another_place(olds, news)]
    return f"{' '.join(found)} Nothing has been touched." if found else None


def refusal_of_machine(olds: Mapping[str, Any], news: Mapping[str, Any]) -> str | None:
    """The same, of the inputs of a node's machine as the engine has them."""
    return refusal(_as_node(olds), _as_node(news))


def _as_node(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What a machine's inputs say of its node; a refresh may have left something out."""
    disks = {disk.get("interface"): disk for disk in machine.get("disks") or ()}
    os_disk, data_disk = (disks.get(key, {}) for key in ("scsi0", "scsi1"))
    configs = (machine.get("initialization") or {}).get("ipConfigs") or [{}]
    address = (configs[0].get("ipv4") or {}).get("address")
    return {
        "node": machine.get("name"),
        "vm_id": machine.get("vmId"),
        "cores": (machine.get("cpu") or {}).get("cores"),
        "memory_mib": (machine.get("memory") or {}).get("dedicated"),
        "address": address and address.partition("/")[0],
        "os_disk_gib": os_disk.get("size"),
        "data_disk_gib": data_disk.get("size"),
        "datastore": os_disk.get("datastoreId"),
    }


def _smaller_disks(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Iterator[str]:
    """Disks only grow (Proxmox VE: qm resize); one that is taken away is pulled out at once
    (bpg v0.111.1 proxmoxtf/resource/vm/vm.go ``vmUpdate``)."""
    for key, what in _DISKS.items():
        has, wanted = olds.get(key), news.get(key)
        if has is None or (wanted is not None and wanted >= has):
            continue
        change = (
            f"cannot be taken away from {news['node']} while it lives"
            if wanted is None
            else f"of {news['node']} cannot become one of {wanted:g} GiB"
        )
        yield (
            f"{key}: the {what} of {has:g} GiB {change}: disks only grow. Set it back to {has:g}, "
            "or remove the node and add it again."
        )


def _all_at_once(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Iterator[str]:
    """A disk does not grow as long as new cores or memory wait for a power-cycle (the same file,
    "resize disks")."""
    changed = [key for key in ("cores", "memory_mib") if olds.get(key) not in (None, news.get(key))]
    grown = [key for key in _DISKS if (news.get(key) or 0) > (olds.get(key) or 0) > 0]
    if changed and grown:
        yield (
            f"{grown[0]}: no disk of {news['node']} can grow in the same `up` that changes "
            f"{' and '.join(changed)}: set one of them back, `make up`, and then change it."
        )


def _another_place(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Iterator[str]:
    """Its address is that of its machine config, which would be sent to the new one; and its disks
    are in use (bpg v0.111.1, the same file: "move the Cloud-Init drive")."""
    name = news["node"]
    if olds["address"] not in (None, news["address"]):
        yield (
            f"address: {name} lives at {olds['address']} and cannot move to {news['address']}: "
            f"set it back to {olds['address']}, or remove the node and add it again."
        )
    # The life of a node that was born before this was written down knows no storage; its machine
    # does.
    has = olds.get("datastore")
    if has is not None and has != news["datastore"]:
        yield (
            f"proxmox.disk_datastore: {name} has its disks on {has}, and they cannot move to "
            f"{news['datastore']}: set it back to {has}, or remove the node and add it again."
        )
