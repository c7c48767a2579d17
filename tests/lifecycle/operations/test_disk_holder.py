"""Keepers of data disks: found again, made once, and refused where they do not fit."""

from __future__ import annotations

import io
import urllib.error
from collections.abc import Mapping
from email.message import Message
from typing import Any

import pytest
from pydantic import SecretStr

from clients.errors import OperationError
from clients.proxmox import api as proxmox_api
from lifecycle.operations.disk_holder import Keeper, tag
from lifecycle.retained_disk import RetainedDiskProvider
from settings.groups import Endpoint

OWNER = "ephemeral-castle-homelab"
UPID = "UPID:pve:0:0:0:qmcreate:108010:root@pam:"


class Proxmox:
    """A Proxmox with some guests; it makes what it is asked for."""

    def __init__(self) -> None:
        self.guests: list[dict[str, Any]] = []
        self.configs: dict[str, dict[str, str]] = {}
        self.taken: set[int] = set()
        self.exit = "OK"
        self.made: list[dict[str, str]] = []

    def keeps(self, host: str, disk: str, tags: str = f"talos;{tag(OWNER)}") -> None:
        """There is a keeper already."""
        guest = {"vmid": 108010, "name": "castle-worker-1-data", "node": host, "tags": tags}
        self.guests.append(guest)
        self.configs[f"/nodes/{host}/qemu/108010/config"] = {"scsi0": disk}

    def __call__(
        self, path: str, method: str = "GET", form: Mapping[str, str] | None = None
    ) -> Any:
        if path == "/cluster/resources?type=vm":
            return self.guests
        if path.startswith("/cluster/nextid?vmid="):
            if int(path.rpartition("=")[2]) in self.taken:
                raise urllib.error.HTTPError(path, 400, "taken", Message(), io.BytesIO())
            return path.rpartition("=")[2]
        if method == "POST":
            assert form is not None
            self.made.append(dict(form))
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
    """The one that is asked."""
    found = Proxmox()
    monkeypatch.setattr(proxmox_api, "caller", lambda *_: found)
    return found


def keeper(**changes: Any) -> Keeper:
    endpoint = Endpoint(endpoint="https://pve:8006", apiToken=SecretStr("a@b!c=d"))
    values: dict[str, Any] = {
        "proxmox": endpoint,
        "stack_tag": OWNER,
        "node": "castle-worker-1",
        "vm_id": 8010,
        "host": "pve",
        "datastore": "local-lvm",
        "size_gib": 43,
    }
    return Keeper(**values | changes)


def test_it_is_made_once_and_protected(proxmox: Proxmox) -> None:
    proxmox.taken = {108010, 108011}
    assert keeper().disk() == "vm-108012-disk-0"
    (made,) = proxmox.made
    assert (made["name"], made["tags"]) == ("castle-worker-1-data", tag(OWNER))
    assert (made["protection"], made["onboot"]) == ("1", "0")
    # The tag of the castle's machines would let `make down` remove it.
    assert made["tags"] != OWNER


def test_it_is_found_again_and_its_disk_is_left_as_it_is(proxmox: Proxmox) -> None:
    proxmox.keeps("pve", "local-lvm:vm-108010-disk-3,size=43G,ssd=1")
    assert keeper().disk() == "vm-108010-disk-3"
    assert proxmox.made == []


@pytest.mark.parametrize(
    ("host", "disk", "reason"),
    [
        ("pve2", "local-lvm:vm-108010-disk-0,size=43G", r"lies on pve2.*worker-1\.host: pve2"),
        ("pve", "tank:vm-108010-disk-0,size=43G", "lies on the storage tank.*disk_datastore: tank"),
        ("pve", "local-lvm:vm-108010-disk-0,size=50G", "has 50 GiB.*data_disk_gib: 50"),
        ("pve", "local-lvm:vm-108010-disk-0,size=512M", "has another size"),
    ],
)
def test_one_that_does_not_fit_is_refused_with_the_cure(
    proxmox: Proxmox, host: str, disk: str, reason: str
) -> None:
    proxmox.keeps(host, disk)
    with pytest.raises(OperationError, match=f"{reason}.*remove castle-worker-1-data there"):
        keeper().disk()
    assert proxmox.made == []


def test_one_without_a_disk_is_refused(proxmox: Proxmox) -> None:
    proxmox.keeps("pve", "")
    proxmox.configs["/nodes/pve/qemu/108010/config"] = {"name": "castle-worker-1-data"}
    with pytest.raises(OperationError, match="castle-worker-1-data in Proxmox. is not there"):
        keeper().disk()


def test_a_keeper_of_another_castle_is_not_ours(proxmox: Proxmox) -> None:
    proxmox.keeps("pve", "local-lvm:vm-108010-disk-0,size=43G", tag("ephemeral-castle-other"))
    proxmox.taken = {108010}
    assert keeper().disk() == "vm-108011-disk-0"


def test_a_failure_of_proxmox_is_told(proxmox: Proxmox) -> None:
    proxmox.exit = "lvcreate failed"
    with pytest.raises(
        OperationError, match="could not make castle-worker-1-data: lvcreate failed"
    ):
        keeper().disk()


def test_near_the_end_of_all_ids_it_goes_below(proxmox: Proxmox) -> None:
    assert keeper(vm_id=999_990_000).disk() == "vm-999890000-disk-0"


PROPS = {
    "node": "castle-worker-1",
    "vm_id": 8010,
    "owner": OWNER,
    "host": "pve",
    "datastore": "local-lvm",
    "size_gib": 43.0,
    "endpoint": "https://pve:8006",
    "insecure": False,
    "api_token": "a@b!c=d",
}


def test_the_state_has_the_path_and_no_token(proxmox: Proxmox) -> None:
    outs = RetainedDiskProvider().create(PROPS).outs
    assert outs is not None and outs["path"] == "vm-108010-disk-0"
    assert "a@b!c=d" not in str(outs)
    RetainedDiskProvider().delete("", outs)
    assert len(proxmox.made) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"api_token": "new"}, None),
        ({"size_gib": 50.0}, "data_disk_gib: .* has 43, and cannot become 50 while it is kept"),
        ({"host": "pve2"}, "proxmox host: .* has pve, and cannot become pve2"),
        ({"datastore": "tank"}, "proxmox.disk_datastore: .* has local-lvm, and cannot become tank"),
    ],
)
def test_what_it_has_it_has_from_its_birth(
    proxmox: Proxmox, change: dict[str, Any], reason: str | None
) -> None:
    provider = RetainedDiskProvider()
    olds: dict[str, Any] = dict(provider.create(PROPS).outs or {})
    if reason is None:
        assert provider.diff("", olds, PROPS | change).changes is False
        return
    with pytest.raises(OperationError, match=reason):
        provider.diff("", olds, PROPS | change)
