"""Disk holders: found again, created once, and refused if the disk does not fit the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError
from lifecycle.operations.disk_holder import DiskHolder, tag
from lifecycle.retained_disk import RetainedDiskProvider
from settings.groups import Endpoint

STACK_TAG = "ephemeral-castle-homelab"
UPID = "UPID:pve:0:0:0:qmcreate:108010:root@pam:"


class Proxmox:
    """A fake Proxmox with some guests; it creates VMs."""

    def __init__(self) -> None:
        self.guests: list[dict[str, Any]] = []
        self.configs: dict[str, dict[str, str]] = {}
        self.taken: set[int] = set()
        self.exit = "OK"
        """Exit status of every task."""
        self.created: list[dict[str, str]] = []

    def add_disk_holder(self, host: str, disk: str, tags: str = f"talos;{tag(STACK_TAG)}") -> None:
        """Let a disk holder exist."""
        guest: dict[str, Any] = {"vmid": 108010, "name": "castle-worker-1-data"}
        guest |= {"node": host, "tags": tags}
        self.guests.append(guest)
        self.configs[f"/nodes/{host}/qemu/108010/config"] = {"name": guest["name"], "scsi0": disk}

    def __call__(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        if path == "/cluster/resources?type=vm":
            return self.guests
        if path.startswith("/cluster/nextid?vmid="):
            if int(path.rpartition("=")[2]) in self.taken:
                raise ProxmoxError(f"GET {path}", "https://pve:8006", "taken", 400)
            return path.rpartition("=")[2]
        if method == "POST":
            assert form is not None
            self.created.append(dict(form))
            storage, _, size = form["scsi0"].partition(",")[0].partition(":")
            self.configs[f"{path}/{form['vmid']}/config"] = {
                "scsi0": f"{storage}:vm-{form['vmid']}-disk-0,discard=on,size={size}G"
            }
            return UPID
        if "/tasks/" in path:
            return {"status": "stopped", "exitstatus": self.exit}
        return self.configs[path]


@pytest.fixture
def proxmox(monkeypatch: pytest.MonkeyPatch) -> Proxmox:
    """The Proxmox that the program calls."""
    found = Proxmox()
    monkeypatch.setattr(proxmox_api, "caller", lambda *_: found)
    return found


def disk_holder(**changes: Any) -> DiskHolder:
    endpoint = Endpoint(endpoint="https://pve:8006", apiToken=SecretStr("a@b!c=d"))
    values: dict[str, Any] = {
        "proxmox": endpoint,
        "stack_tag": STACK_TAG,
        "node": "castle-worker-1",
        "vm_id": 8010,
        "host": "pve",
        "datastore": "local-lvm",
        "size_gib": 43,
    }
    return DiskHolder(**values | changes)


def test_a_disk_holder_is_created_with_protection_and_the_next_free_id(proxmox: Proxmox) -> None:
    proxmox.taken = {108010, 108011}
    assert disk_holder().find_or_create_disk() == "vm-108012-disk-0"
    (created,) = proxmox.created
    assert (created["name"], created["tags"]) == ("castle-worker-1-data", tag(STACK_TAG))
    assert (created["protection"], created["onboot"]) == ("1", "0")
    # `make down` removes VMs with the tag of the stack.
    assert created["tags"] != STACK_TAG


def test_an_existing_disk_holder_is_used_and_not_changed(proxmox: Proxmox) -> None:
    proxmox.add_disk_holder("pve", "local-lvm:vm-108010-disk-3,size=43G,ssd=1")
    assert disk_holder().find_or_create_disk() == "vm-108010-disk-3"
    assert proxmox.created == []


@pytest.mark.parametrize(
    ("host", "disk", "reason"),
    [
        ("pve2", "local-lvm:vm-108010-disk-0,size=43G", r"is on host pve2.*worker-1\.host: pve2"),
        ("pve", "tank:vm-108010-disk-0,size=43G", "is on the storage tank.*disk_datastore: tank"),
        ("pve", "local-lvm:vm-108010-disk-0,size=50G", "has 50 GiB.*data_disk_gib: 50"),
        ("pve", "local-lvm:vm-108010-disk-0,size=512M", "has another size"),
    ],
)
def test_a_disk_that_differs_from_the_settings_is_refused_with_the_fix(
    proxmox: Proxmox, host: str, disk: str, reason: str
) -> None:
    proxmox.add_disk_holder(host, disk)
    with pytest.raises(OperationError, match=f"{reason}.*remove castle-worker-1-data there"):
        disk_holder().find_or_create_disk()
    assert proxmox.created == []


def test_a_disk_holder_without_a_disk_is_refused(proxmox: Proxmox) -> None:
    proxmox.add_disk_holder("pve", "")
    proxmox.configs["/nodes/pve/qemu/108010/config"] = {"name": "castle-worker-1-data"}
    with pytest.raises(OperationError, match="castle-worker-1-data in Proxmox. is missing"):
        disk_holder().find_or_create_disk()


def test_a_disk_holder_of_another_stack_is_not_used(proxmox: Proxmox) -> None:
    proxmox.add_disk_holder(
        "pve", "local-lvm:vm-108010-disk-0,size=43G", tag("ephemeral-castle-other")
    )
    proxmox.taken = {108010}
    assert disk_holder().find_or_create_disk() == "vm-108011-disk-0"


def test_the_error_of_a_proxmox_task_is_shown(proxmox: Proxmox) -> None:
    proxmox.exit = "lvcreate failed"
    with pytest.raises(
        OperationError, match="could not create VM castle-worker-1-data: lvcreate failed"
    ):
        disk_holder().find_or_create_disk()


def test_near_the_highest_vm_id_a_lower_id_is_used(proxmox: Proxmox) -> None:
    assert disk_holder(vm_id=999_990_000).find_or_create_disk() == "vm-999890000-disk-0"


PROPS = {
    "node": "castle-worker-1",
    "vm_id": 8010,
    "owner": STACK_TAG,
    "host": "pve",
    "datastore": "local-lvm",
    "size_gib": 43.0,
    "endpoint": "https://pve:8006",
    "insecure": False,
    "api_token": "a@b!c=d",
}


def test_the_state_contains_the_path_and_no_token(proxmox: Proxmox) -> None:
    outs = RetainedDiskProvider().create(PROPS).outs
    assert outs is not None and outs["path"] == "vm-108010-disk-0"
    assert "a@b!c=d" not in str(outs)
    RetainedDiskProvider().delete("", outs)
    assert len(proxmox.created) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"api_token": "new"}, None),
        ({"size_gib": 50.0}, "data_disk_gib: .* has 43, and cannot become 50 while it is retained"),
        ({"host": "pve2"}, "proxmox host: .* has pve, and cannot become pve2"),
        ({"datastore": "tank"}, "proxmox.disk_datastore: .* has local-lvm, and cannot become tank"),
    ],
)
def test_host_storage_and_size_of_a_retained_disk_cannot_change(
    proxmox: Proxmox, change: dict[str, Any], reason: str | None
) -> None:
    provider = RetainedDiskProvider()
    olds: dict[str, Any] = dict(provider.create(PROPS).outs or {})
    if reason is None:
        assert provider.diff("", olds, PROPS | change).changes is False
        return
    with pytest.raises(OperationError, match=reason):
        provider.diff("", olds, PROPS | change)
