"""Waits for Longhorn's disks, copies and engines, and changes the number of a volume's copies.

Every function reads first and changes only what differs, so that a run that was killed can be
repeated. Leaves out how replicas leave a node (``upkeep/volumes.py``).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from clients.errors import OperationError
from clients.kubernetes.api import ApiError
from clients.kubernetes.longhorn import (
    STORAGE_CLASS,
    Disk,
    KubernetesReader,
    KubernetesWriter,
    Volume,
    read_disks,
    read_storage,
    read_volumes,
    set_copies,
)
from clients.wait import NotYet, wait_until
from lifecycle.operations.diagnostics import report
from lifecycle.operations.storage_health import StorageProblem, disk_problems
from settings import compatibility

READY_TIMEOUT_S = 600
"""Seconds in which Longhorn must report all disks: its managers pull their images first."""
SETTLE_S = 45
"""Seconds for which a lasting problem must be seen: a volume may be mounted at this moment, and
Longhorn looks at its disks every 30 s (longhorn-manager v1.12.1 controller/monitor)."""
SURPLUS_TIMEOUT_S = 120
"""Seconds in which Longhorn must delete surplus copies; after that they are only reported."""
ENGINE_TIMEOUT_S = 300
"""Seconds in which Longhorn must upgrade the engines of all volumes; after that they are only
reported."""


def wait_for_disks(
    api: KubernetesReader,
    data_disks: Mapping[str, int],
    other_nodes: Collection[str],
    consequence: str,
    old_sizes: Mapping[str, int] | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> None:
    """Wait until every storage node has its data disk in Longhorn, and no other node has a disk.

    ``data_disks`` is the size in GiB by node name. Nodes in neither argument are leaving the
    cluster: their disks do not matter. ``consequence`` ends the error: what is stored already, and
    how to go on. ``old_sizes`` are the sizes of disks that grow. Raises ``OperationError`` with
    every problem that is left.
    """
    first_seen: dict[StorageProblem, float] = {}

    def check() -> None:
        try:
            disks = [it for it in read_disks(api) if it.node in {*data_disks, *other_nodes}]
        except ApiError as error:
            raise NotYet(f"  - {error}.") from None
        problems = [
            _growing(it, disks, old_sizes or {}) or it for it in disk_problems(disks, data_disks)
        ]
        now = time.monotonic()
        lasting = False
        for problem in problems:
            seen = now - first_seen.setdefault(problem, now)
            lasting |= problem.is_lasting and seen >= SETTLE_S
        for problem in first_seen.keys() - set(problems):
            del first_seen[problem]
        text = "\n".join(f"  - {problem}" for problem in problems)
        if lasting:
            raise _disk_error("Longhorn's disks are wrong", text, consequence)
        if problems:
            raise NotYet(text)

    def failed(missing: str) -> OperationError:
        subject = f"Longhorn's disks are not ready after {timeout_s:.0f} s"
        return _disk_error(subject, missing, consequence)

    wait_until(check, timeout_s, failed)


def _growing(
    problem: StorageProblem, disks: Sequence[Disk], old_sizes: Mapping[str, int]
) -> StorageProblem | None:
    """The problem in other words, if it is a disk that has its old size."""
    node = problem.subject
    if node not in old_sizes or any(
        it.subject == node for it in disk_problems(disks, {node: old_sizes[node]})
    ):
        return None
    return StorageProblem(
        subject=node,
        text=f"still reports its old data disk of {old_sizes[node]} GiB",
        fix=f"reboot the node: Talos grows a volume while it boots (`talosctl -n {node} reboot`)",
    )


def _disk_error(subject: str, problems: str, consequence: str) -> OperationError:
    return OperationError(f"{subject}:\n{problems}\n{consequence}")


def set_copies_of_claims(
    api: KubernetesWriter, claims: Collection[str], copies: int, rebuild_s: float
) -> None:
    """Give the volumes of these claims so many copies, and wait until the attached ones have them.

    Claims are named ``NAMESPACE/NAME``; one without a volume is skipped. Raises
    ``OperationError`` if copies are still missing after ``rebuild_s`` seconds.
    """
    for volume in _volumes_of(api, claims):
        if volume.copies != copies:
            try:
                set_copies(api, volume, copies)
            except ApiError as error:
                raise OperationError(
                    f"Longhorn does not set {volume.title} to {copies}: {error}."
                ) from None

    def check_missing() -> None:
        volumes = _attached(api, claims)
        missing = [it for it in volumes if len(it.healthy_nodes) < copies]
        if missing:
            raise NotYet(f"{len(volumes) - len(missing)} of {len(volumes)} have; {_shown(missing)}")

    def failed(missing: str) -> OperationError:
        return OperationError(
            f"The volumes do not have {copies} healthy copies each after {rebuild_s:.0f} s "
            f"(timeouts.rebuild_s): {missing}. Longhorn continues by itself. See `kubectl -n "
            "longhorn-system get volumes.longhorn.io`, then run `up` again."
        )

    wait_until(check_missing, rebuild_s, failed)
    _wait_for_deletions(api, claims, copies)


def _wait_for_deletions(api: KubernetesReader, claims: Collection[str], copies: int) -> None:
    """Wait a moment for Longhorn to delete surplus copies, and print which are left."""

    def check_surplus() -> None:
        surplus = [it for it in _attached(api, claims) if len(it.healthy_nodes) > copies]
        if surplus:
            raise NotYet(_shown(surplus))

    try:
        wait_until(check_surplus, SURPLUS_TIMEOUT_S, OperationError)
    except OperationError as left:
        report(
            f"Longhorn has not deleted the surplus copies yet after {SURPLUS_TIMEOUT_S} s: {left}. "
            "It does so only while its setting replica-auto-balance is not `disabled`. Surplus "
            "copies take space and do no harm."
        )


def _attached(api: KubernetesReader, claims: Collection[str]) -> list[Volume]:
    try:
        return [volume for volume in _volumes_of(api, claims) if volume.is_attached]
    except ApiError as error:
        raise NotYet(str(error)) from None


def _volumes_of(api: KubernetesReader, claims: Collection[str]) -> list[Volume]:
    """The volumes of these claims, without those that a deleted claim of that name left."""
    return [it for it in read_volumes(api) if it.claim in claims and not it.is_released]


def _shown(volumes: Sequence[Volume]) -> str:
    return ", ".join(
        f"{it.title} has {len(it.healthy_nodes)} ({', '.join(it.healthy_nodes) or 'on no node'})"
        for it in volumes
    )


def volumes_with_other_copies(
    api: KubernetesReader, copies: int, without: Collection[str] = ()
) -> list[Volume]:
    """The volumes of our storage class that want another number of copies than ``copies``.

    ``without`` are claims that are left out. Raises ``ApiError``.
    """
    return [
        volume
        for volume in read_volumes(api)
        if volume.storage_class == STORAGE_CLASS
        and volume.copies != copies
        and volume.claim not in without
    ]


def wait_for_engines(api: KubernetesReader, chart_version: str) -> None:
    """Wait a while until all volumes run the engine of this Longhorn, and print which do not."""

    def check() -> None:
        try:
            storage = read_storage(api)
        except ApiError as error:
            raise NotYet(f"unknown, because {error}") from None
        if storage is None:
            return
        if storage.version and storage.version.lstrip("v") != chart_version:
            raise NotYet(f"unknown, because Longhorn still says that it is {storage.version}")
        if storage.outdated:
            raise NotYet(_engines(storage.outdated))

    try:
        wait_until(check, ENGINE_TIMEOUT_S, OperationError)
    except OperationError as left:
        report(
            f"Volumes that still run an old engine {ENGINE_TIMEOUT_S} s after Longhorn became "
            f"{chart_version}: {left}. They work. `up` refuses Longhorn's next minor version until "
            "they are upgraded. Longhorn upgrades a volume by itself if it is healthy. A person "
            "can do it in Longhorn's interface (Volume, Upgrade Engine)."
        )


def upgrade_refusal(api: KubernetesReader, old: str, new: str) -> str | None:
    """Why Longhorn ``old`` cannot become ``new`` now; None if it can. Raises ``ApiError``.

    Longhorn's own check (longhorn-manager v1.12.1 upgrade/util/util.go) refuses a way back, more
    than one minor version at a time, and each engine image that a volume uses and whose API
    versions are outside of the range that the new Longhorn supports. It fails as a job of Helm,
    which names no volume. That range is not known here, so that across a minor version every
    volume must run the engine of the Longhorn that runs.
    """
    if problem := compatibility.longhorn_step(old, new):
        return f"{problem}\nLonghorn has not been changed."
    if compatibility.minor_of(old) == compatibility.minor_of(new):
        return None
    storage = read_storage(api)
    if storage is None or not storage.outdated:
        return None
    return (
        f"longhorn.chart_version: Longhorn {old} cannot become {new} while volumes run an old "
        f"engine: {_engines(storage.outdated)}. Longhorn {new} does not start if it does not "
        "support that engine. Longhorn has not been changed. Upgrade the volumes to "
        f"{storage.engine_image} in Longhorn's interface (Volume, Upgrade Engine); if one is not "
        "healthy, repair or detach it first. Then run `up` again."
    )


def _engines(volumes: Sequence[Volume]) -> str:
    return ", ".join(f"{it.title} ({it.engine_image or 'unknown'})" for it in volumes)
