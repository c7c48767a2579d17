"""How the doctor reads guests that Proxmox lists without a name."""

from __future__ import annotations

from typing import Any

import pytest

from clients.proxmox.api import ProxmoxError
from doctor.findings import CannotCheckError
from doctor.proxmox import Proxmox

STACK_TAG = "ephemeral-castle-homelab"
# `/cluster/resources` lists a new guest, or a guest on a silent host, without its name.
NAMELESS_GUEST = {"vmid": 108010, "node": "pve", "type": "qemu", "status": "unknown"}
DISK_HOLDER = NAMELESS_GUEST | {"tags": f"{STACK_TAG}-data"}
NEW_VM = NAMELESS_GUEST | {"vmid": 8010, "tags": f"{STACK_TAG};talos;worker"}
NAMED_VM = NEW_VM | {"vmid": 8011, "name": "castle-worker-2", "node": "pve2", "status": "running"}


def proxmox(guests: list[dict[str, Any]], configs: dict[str, dict[str, Any]]) -> Proxmox:
    """A Proxmox with these guests; a guest without a config is on a silent host."""

    def get(path: str) -> Any:
        if path == "/version":
            return {"version": "9.2.11"}
        if path == "/cluster/resources?type=vm":
            return guests
        if path not in configs:
            raise ProxmoxError(f"GET {path}", "https://pve:8006", "No route to host", 595)
        return configs[path]

    return Proxmox(get, STACK_TAG)


def test_the_name_of_a_disk_holder_is_read_from_its_config() -> None:
    config = {"/nodes/pve/qemu/108010/config": {"name": "castle-worker-1-data"}}
    assert proxmox([DISK_HOLDER, NAMELESS_GUEST], config).disk_holders() == {"castle-worker-1-data"}


def test_a_disk_holder_whose_config_cannot_be_read_is_an_error() -> None:
    with pytest.raises(CannotCheckError, match="No route to host"):
        proxmox([DISK_HOLDER], {}).disk_holders()


def test_the_name_of_a_vm_is_read_from_its_config() -> None:
    config = {"/nodes/pve/qemu/8010/config": {"name": "castle-worker-1"}}
    hosts = proxmox([NEW_VM, NAMED_VM], config).hosts_of_vms()
    assert hosts == {"castle-worker-1": "pve", "castle-worker-2": "pve2"}


def test_a_silent_host_hides_no_vm_of_another_host() -> None:
    found = proxmox([NEW_VM, NAMED_VM], {})
    assert found.hosts_of_vms() == {"castle-worker-2": "pve2"}
    assert [(it.vm_id, it.running) for it in found.stack_vms()] == [(8010, False), (8011, True)]


def test_guests_of_others_need_neither_name_nor_status() -> None:
    bare = {"vmid": 200, "node": "pve", "type": "lxc"}
    found = proxmox([bare, NAMELESS_GUEST], {})
    assert found.other_guests_on("pve") == []
    assert found.disk_holders() == set()
