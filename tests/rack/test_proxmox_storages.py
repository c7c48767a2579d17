"""Storages, downloads and what does not fit."""

from __future__ import annotations

import pytest

from tests.e2e.rack.proxmox.model import GIB, Node, Storage
from tests.e2e.rack.rack import Rack

from .proxmox_client import IMAGE, ProxmoxClient, RefusedError

ADDRESS = "127.77.2.11"


def storage(name: str, *content: str, kind: str = "dir", total: int = 100 * GIB) -> Storage:
    """Make a storage."""
    return Storage(name=name, kind=kind, content=frozenset(content), total=total)


async def test_an_image_is_downloaded_listed_and_deleted(proxmox: ProxmoxClient) -> None:
    metadata = await proxmox.call(
        "GET", "/nodes/pve/query-url-metadata", url="https://a.test/b.raw"
    )
    assert metadata["filename"] == "b.raw"
    content = "/nodes/pve/storage/local/content"
    [volume] = await proxmox.call("GET", content, content="import")
    assert (volume["volid"], volume["format"]) == (IMAGE, "qcow2")
    await proxmox.call("DELETE", f"{content}/local:import%2Ftalos.qcow2")
    assert await proxmox.call("GET", content, content="import") == []


async def test_an_existing_file_is_not_overwritten(proxmox: ProxmoxClient) -> None:
    with pytest.raises(RefusedError, match="refusing to override existing file"):
        await proxmox.download_image()


async def test_a_file_may_be_named_without_its_storage(proxmox: ProxmoxClient) -> None:
    # The provider does, when it makes room for a file that it downloads again.
    await proxmox.call("DELETE", "/nodes/pve/storage/local/content/import%2Ftalos.qcow2")
    assert await proxmox.call("GET", "/nodes/pve/storage/local/content") == []


async def test_a_deleted_file_can_be_deleted_again(proxmox: ProxmoxClient) -> None:
    for _ in range(2):
        await proxmox.call("DELETE", "/nodes/pve/storage/local/content/local:import%2Ftalos.qcow2")


async def test_a_disk_image_needs_its_own_extension(proxmox: ProxmoxClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await proxmox.download_image("talos.img")
    assert refused.value.status == 400
    assert refused.value.errors == {"filename": "invalid filename or wrong extension"}


async def test_a_download_that_fails_is_a_failed_task(rack: Rack, proxmox: ProxmoxClient) -> None:
    missing = f"{rack.factory_url}/image/none/v1.13.9/nocloud-amd64.qcow2"
    with pytest.raises(RefusedError, match="^0 download failed: exit code 8"):
        await proxmox.download_image("a.qcow2", missing)
    refused = "https://127.0.0.1:9/b.qcow2"
    with pytest.raises(RefusedError, match=r"^0 download failed: .*Connection refused\."):
        await proxmox.download_image("b.qcow2", refused)
    with pytest.raises(RefusedError, match="500 invalid server response: '500 Can't connect to"):
        await proxmox.call("GET", "/nodes/pve/query-url-metadata", url=refused)


@pytest.mark.parametrize(("version", "has_available"), [("8.4.21", False), ("9.2.11", True)])
async def test_only_new_hosts_report_available_memory(
    rack: Rack, proxmox: ProxmoxClient, version: str, has_available: bool
) -> None:
    rack.proxmox.cluster.node("pve").version = version
    memory = (await proxmox.call("GET", "/nodes/pve/status"))["memory"]
    assert ("available" in memory) is has_available


async def test_storages_are_listed_by_content(proxmox: ProxmoxClient) -> None:
    [found] = await proxmox.call("GET", "/nodes/pve/storage", content="images")
    assert (found["storage"], found["type"]) == ("local-lvm", "lvmthin")
    assert found["avail"] == found["total"]


async def test_a_storage_without_the_content_type_is_refused() -> None:
    node = Node(name="pve", storages=[storage("local", "iso", "images")])
    async with Rack([node]) as rack:
        with pytest.raises(RefusedError, match="not configured for content-type 'import'"):
            await ProxmoxClient.of(rack).download_image()


async def test_a_storage_that_holds_no_disks_is_refused(proxmox: ProxmoxClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await proxmox.create_vm(101, ADDRESS, scsi1="file=local:43")
    assert refused.value.errors == {"storage": "storage 'local' does not support vm images"}


async def test_a_disk_that_does_not_fit_leaves_nothing_behind() -> None:
    disks = storage("local-lvm", "images", kind="lvmthin", total=20 * GIB)
    async with Rack([Node(name="pve", storages=[storage("local", "import"), disks])]) as rack:
        proxmox = ProxmoxClient.of(rack)
        await proxmox.download_image()
        with pytest.raises(RefusedError, match="insufficient free space"):
            await proxmox.create_vm(101, ADDRESS)
        assert not rack.vms
        [_, summary] = await proxmox.call("GET", "/nodes/pve/storage")
        assert summary["used"] == 0


async def test_an_image_that_does_not_fit_is_refused() -> None:
    node = Node(name="pve", storages=[storage("local", "import", total=1024)])
    async with Rack([node]) as rack:
        with pytest.raises(RefusedError, match="insufficient free space"):
            await ProxmoxClient.of(rack).download_image()


async def test_disks_on_a_directory_are_files(proxmox: ProxmoxClient, rack: Rack) -> None:
    node = rack.proxmox.cluster.node("pve")
    node.storages.append(storage("files", "images"))
    await proxmox.create_vm(101, ADDRESS, scsi1="file=files:43,format=qcow2")
    config = await proxmox.vm(101, "GET", "config")
    assert config["scsi1"] == "files:101/vm-101-disk-0.qcow2,size=43G"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nodes/nowhere/storage", "500 hostname lookup 'nowhere' failed"),
        ("/nodes/nowhere/qemu/101/config", "500 hostname lookup 'nowhere' failed"),
        ("/nodes/pve/storage/NOPE/status", r"400 .*'storage': 'No such storage\.'"),
        ("/nodes/pve/storage/nothing/content", "storage 'nothing' does not exist"),
        ("/nodes/pve/storage/local/content/local:iso%2Fx.iso", "volume 'local:iso/x.iso'"),
        ("/no/such/path", "Method 'GET /no/such/path' not implemented"),
    ],
)
async def test_what_does_not_exist_is_named(proxmox: ProxmoxClient, path: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        await proxmox.call("GET", path)


@pytest.mark.parametrize("token", ["root@pam!rack=wrong", "nobody@pve!x=wrong", "garbage"])
async def test_a_wrong_token_is_refused(rack: Rack, token: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await ProxmoxClient(rack.endpoint, token, rack.ca_file).call("GET", "/version")
    assert (refused.value.status, refused.value.reason) == (401, "Authentication failed!")
