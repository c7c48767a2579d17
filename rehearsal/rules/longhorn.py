"""What Longhorn refuses: its end, and the place of replicas."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal import machine_config
from rehearsal.record import Recording
from rehearsal.rules.book import rule
from rehearsal.rules.kubernetes import releases_of
from rehearsal.rules.talos import configs


@rule("facts/charts.md 4 (longhorn#5187)")
def longhorn_can_be_uninstalled(recording: Recording) -> Iterator[tuple[str, str]]:
    """Without the flag its uninstall job fails; the job alone may take 900 s."""
    for release in releases_of(recording, "longhorn"):
        settings = release.plain("values", {}).get("defaultSettings", {})
        if settings.get("deletingConfirmationFlag") is not True:
            yield release.name, "needs defaultSettings.deletingConfirmationFlag true"
        if release.plain("timeout", 300) < 900:
            yield release.name, "its timeout is shorter than the uninstall job's 900 s"


@rule("docs/storage.md: pods see paths of the host, and not the kubelet's own mounts")
def longhorn_stores_on_its_user_volume(recording: Recording) -> Iterator[tuple[str, str]]:
    """Longhorn's data path is the mount of the user volume, and the kubelet binds nothing there."""
    paths = {
        release.plain("values", {}).get("defaultSettings", {}).get("defaultDataPath", "")
        for release in releases_of(recording, "longhorn")
    }
    for apply, documents in configs(recording):
        # Other user volumes are no place for Longhorn: patches may add them to any node.
        own, _ = machine_config.user_volumes(documents)
        mounts = {f"/var/mnt/{volume['name']}" for volume in own}
        if _stores(documents) and not paths <= mounts:
            missing = ", ".join(sorted(paths - mounts))
            yield apply.name, f"Longhorn's data path {missing} is not the mount of a user volume"
        kubelet = machine_config.main(documents)["machine"].get("kubelet", {})
        for mount in kubelet.get("extraMounts", ()):
            if mount["destination"] in paths:
                yield apply.name, f"the kubelet must not bind {mount['destination']}"


def _stores(documents: list[machine_config.Document]) -> bool:
    """Whether Longhorn makes a disk on this node."""
    labels = machine_config.main(documents)["machine"].get("nodeLabels", {})
    return "node.longhorn.io/create-default-disk" in labels


@rule("longhorn: hard anti-affinity of replicas")
def longhorn_can_place_its_replicas(recording: Recording) -> Iterator[tuple[str, str]]:
    """As many nodes with a labelled data disk as there are replicas."""
    carriers = sum(
        bool(machine_config.user_volumes(documents)[0]) and _stores(documents)
        for _, documents in configs(recording)
    )
    for release in releases_of(recording, "longhorn"):
        replicas = (
            release.plain("values", {}).get("persistence", {}).get("defaultClassReplicaCount")
        )
        if not isinstance(replicas, int) or replicas > carriers:
            yield release.name, f"{replicas} replicas on {carriers} nodes with a data disk"


TRAEFIK_41_KEYS = {
    ("ports", "web", "redirectTo"),
    ("ports", "web", "redirections"),
    ("ports", "web", "tls"),
    ("ports", "websecure", "tls"),
    ("logs",),
    ("globalArguments",),
    ("certResolvers",),
    ("image", "name"),
    ("service", "type"),
    ("service", "loadBalancerIP"),
    ("deployment", "strategy"),
    ("persistence", "accessModes"),
}


"""Keys that Traefik's chart 41 rejects, or takes in silence for nothing (facts/charts.md 2)."""
