"""What the doctor reads of guests that Proxmox lists without a name."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.error import HTTPError

import pytest

from doctor.findings import CannotTellError
from doctor.proxmox import Proxmox

OWNER = "ephemeral-castle-homelab"
# As `/cluster/resources` has them in the first seconds of a guest, or on a silent host.
NAMELESS = {"vmid": 108010, "node": "pve", "type": "qemu", "status": "unknown"}
HOLDER = NAMELESS | {"tags": f"{OWNER}-data"}
MACHINE = NAMELESS | {"vmid": 8010, "tags": f"{OWNER};talos;worker"}
NAMED = MACHINE | {"vmid": 8011, "name": "castle-worker-2", "node": "pve2", "status": "running"}


def proxmox(guests: list[dict[str, Any]], configs: dict[str, dict[str, Any]]) -> Proxmox:
    """A Proxmox with these guests; a guest without a config is on a silent host."""

    def get(path: str) -> Any:
        if path == "/version":
            return {"version": "9.2.11"}
        if path == "/cluster/resources?type=vm":
            return guests
        if path not in configs:
            raise HTTPError(path, 595, "No route to host", {}, BytesIO())  # type: ignore[arg-type]
        return configs[path]

    return Proxmox(get, OWNER)


def test_a_holder_without_a_name_is_known_by_its_config() -> None:
    config = {"/nodes/pve/qemu/108010/config": {"name": "castle-worker-1-data"}}
    assert proxmox([HOLDER, NAMELESS], config).keepers() == {"castle-worker-1-data"}


def test_a_holder_that_cannot_be_asked_is_not_taken_for_absent() -> None:
    with pytest.raises(CannotTellError, match="No route to host"):
        proxmox([HOLDER], {}).keepers()


def test_a_machine_without_a_name_is_known_by_its_config() -> None:
    config = {"/nodes/pve/qemu/8010/config": {"name": "castle-worker-1"}}
    hosts = proxmox([MACHINE, NAMED], config).hosts_of_machines()
    assert hosts == {"castle-worker-1": "pve", "castle-worker-2": "pve2"}


def test_a_silent_host_hides_no_machine_of_another_one() -> None:
    found = proxmox([MACHINE, NAMED], {})
    assert found.hosts_of_machines() == {"castle-worker-2": "pve2"}
    assert [(it.vm_id, it.running) for it in found.own_machines()] == [(8010, False), (8011, True)]


def test_guests_that_are_not_ours_need_neither_name_nor_status() -> None:
    bare = {"vmid": 200, "node": "pve", "type": "lxc"}
    found = proxmox([bare, NAMELESS], {})
    assert found.strangers_on("pve") == []
    assert found.keepers() == set()
