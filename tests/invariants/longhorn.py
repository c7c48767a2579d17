"""Invariants of Longhorn: removal, data path and replicas."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.machine_config import Document
from rehearsal.record import Recording
from tests.invariants.documents import configs, longhorn_volumes, main
from tests.invariants.kubernetes import releases_of
from tests.invariants.registry import invariant


@invariant("longhorn/longhorn#5187")
def longhorn_can_be_uninstalled(recording: Recording) -> Iterator[tuple[str, str]]:
    """The uninstall job fails without the flag, and may take 900 s."""
    for release in releases_of(recording, "longhorn"):
        settings = release.plain("values", {}).get("defaultSettings", {})
        if settings.get("deletingConfirmationFlag") is not True:
            yield release.name, "needs defaultSettings.deletingConfirmationFlag true"
        if release.plain("timeout", 300) < 900:
            yield release.name, "its timeout is shorter than the 900 s of the uninstall job"


@invariant("docs/storage.md: pods see paths of the host, not mounts of the kubelet")
def longhorn_stores_on_its_user_volume(recording: Recording) -> Iterator[tuple[str, str]]:
    """Longhorn's data path is the mount of its user volume, and no kubelet mount is there."""
    paths = {
        release.plain("values", {}).get("defaultSettings", {}).get("defaultDataPath", "")
        for release in releases_of(recording, "longhorn")
    }
    for apply, documents in configs(recording):
        mounts = {f"/var/mnt/{volume['name']}" for volume in longhorn_volumes(documents)}
        if _has_longhorn_disk(documents) and not paths <= mounts:
            missing = ", ".join(sorted(paths - mounts))
            yield apply.name, f"Longhorn's data path {missing} is not the mount of a user volume"
        kubelet = main(documents)["machine"].get("kubelet", {})
        for mount in kubelet.get("extraMounts", ()):
            if mount["destination"] in paths:
                yield apply.name, f"the kubelet must not mount {mount['destination']}"


def _has_longhorn_disk(documents: list[Document]) -> bool:
    """Return whether Longhorn creates a disk on the node."""
    labels = main(documents)["machine"].get("nodeLabels", {})
    return "node.longhorn.io/create-default-disk" in labels


@invariant("longhorn: hard anti-affinity of replicas")
def longhorn_can_place_its_replicas(recording: Recording) -> Iterator[tuple[str, str]]:
    """There are at least as many nodes with a labelled data disk as replicas."""
    nodes = sum(
        bool(longhorn_volumes(documents)) and _has_longhorn_disk(documents)
        for _, documents in configs(recording)
    )
    for release in releases_of(recording, "longhorn"):
        replicas = (
            release.plain("values", {}).get("persistence", {}).get("defaultClassReplicaCount")
        )
        if not isinstance(replicas, int) or replicas > nodes:
            yield release.name, f"{replicas} replicas on {nodes} nodes with a data disk"
