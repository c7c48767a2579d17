"""The Talos image: the inputs for the Image Factory and for Proxmox."""

from __future__ import annotations

import hashlib
from typing import Any

import yaml

from components.image import TalosImage, TalosImageArgs
from rehearsal.record import Recording
from tests.recorder import one, record, sent, settings_with


def image_with(**changes: Any) -> Recording:
    settings = settings_with(**changes)
    return record(lambda: TalosImage("image", TalosImageArgs.of(settings)))


def test_the_schematic_has_the_required_extensions_and_those_of_the_settings() -> None:
    recording = image_with(image={"extensions": ["siderolabs/i915"]})
    schematic = yaml.safe_load(sent(one(recording, "image-schematic"))["schematic"])
    assert schematic["customization"]["systemExtensions"]["officialExtensions"] == [
        "siderolabs/i915",
        "siderolabs/iscsi-tools",
        "siderolabs/qemu-guest-agent",
        "siderolabs/util-linux-tools",
    ]


def test_a_changed_schematic_replaces_the_resource() -> None:
    assert one(image_with(), "image-schematic").replace_on_changes == ("schematic",)


def test_each_host_downloads_the_qcow2_of_version_and_schematic() -> None:
    recording = image_with(proxmox={"hosts": ["pve1", "pve2"]}, cluster={"talos": "v1.13.7"})
    text = sent(one(recording, "image-schematic"))["schematic"]
    id_ = hashlib.sha256(text.encode()).hexdigest()
    for host in ("pve1", "pve2"):
        file = sent(one(recording, f"image-{host}"))
        assert file["nodeName"] == host
        assert file["datastoreId"] == "local"
        assert file["contentType"] == "import"
        assert file["url"] == f"https://factory.talos.dev/image/{id_}/v1.13.7/nocloud-amd64.qcow2"
        assert file["fileName"] == f"ephemeral-castle-homelab-talos-v1.13.7-{id_}-{host}.qcow2"


def test_hosts_with_a_shared_storage_have_different_files() -> None:
    recording = image_with(proxmox={"hosts": ["pve1", "pve2"], "image_datastore": "nas"})
    files = [sent(one(recording, f"image-{host}")) for host in ("pve1", "pve2")]
    assert len({file["fileName"] for file in files}) == 2
    assert len({file["url"] for file in files}) == 1


def test_an_unmanaged_file_is_replaced_and_a_refresh_does_not_query_the_factory() -> None:
    file = sent(one(image_with(), "image-pve"))
    assert (file["overwrite"], file["overwriteUnmanaged"]) == (False, True)


def test_only_hosts_with_a_vm_get_the_image() -> None:
    recording = image_with(
        proxmox={"hosts": ["pve1", "pve2", "pve3"]},
        nodes={"workers": {"count": 1}},
        longhorn={"replicas": 1},
    )
    names = {resource.name for resource in recording.resources if resource.custom}
    assert names == {"image-schematic", "image-pve1", "image-pve3"}


def test_kernel_arguments_are_part_of_the_image() -> None:
    with_them = image_with(image={"kernel_arguments": ["net.ifnames=0", "-selinux"]})
    schematic = yaml.safe_load(sent(one(with_them, "image-schematic"))["schematic"])
    assert schematic["customization"]["extraKernelArgs"] == ["net.ifnames=0", "-selinux"]


def test_the_schematic_text_without_kernel_arguments_does_not_change() -> None:
    """Another text gives another schematic, and so a rolling upgrade of every existing cluster."""
    assert sent(one(image_with(), "image-schematic"))["schematic"] == (
        "customization:\n  systemExtensions:\n    officialExtensions:\n"
        "    - siderolabs/iscsi-tools\n    - siderolabs/qemu-guest-agent\n"
        "    - siderolabs/util-linux-tools\n"
    )
