"""Waits for Longhorn's disks, copies and engines, and changes the number of copies of volumes.

A run that was killed can be repeated, because every function changes only what differs. The
eviction of replicas from a node is in ``volumes.py``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from clients.errors import OperationError
from clients.kubernetes.api import KubernetesError
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
from lifecycle.operations import report
from lifecycle.operations.storage_health import (
    StorageProblem,
    disk_problems,
    talosctl_command,
)
from settings import compatibility
from settings.wording import count

READY_TIMEOUT_S = 600
"""Seconds in which Longhorn must report all disks: its managers pull their images first."""
SETTLE_S = 45
"""Seconds for which a lasting problem must exist before it is an error: Talos may be mounting the
disk, and Longhorn checks its disks every 30 s (longhorn-manager v1.12.1 controller/monitor)."""
SURPLUS_TIMEOUT_S = 120
"""Seconds to wait until Longhorn has deleted surplus copies. Then a message lists the rest."""
ENGINE_TIMEOUT_S = 300
"""Seconds to wait until Longhorn has upgraded the engines of all volumes. Then a message lists the
rest."""


def wait_for_disks(
    api: KubernetesReader,
    data_disks: Mapping[str, int],
    other_nodes: Collection[str],
    consequence: str,
    old_sizes: Mapping[str, int] | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> None:
    """Wait until every storage node has its data disk in Longhorn, and no other node has a disk.

    ``data_disks`` is the size in GiB by node name; ``other_nodes`` have no data disk. Other nodes
    are about to be removed, and their disks are not checked. ``consequence`` is the last line of
    the error: whether data may be stored already, and what to do. ``old_sizes`` are the old sizes
    of disks that grow. Raises ``OperationError`` with all remaining problems.
    """
    first_seen: dict[StorageProblem, float] = {}

    def check() -> None:
        try:
            disks = [it for it in read_disks(api) if it.node in {*data_disks, *other_nodes}]
        except KubernetesError as error:
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
            raise _disk_error(
                "Longhorn does not store its data on the right disks", text, consequence
            )
        if problems:
            raise NotYet(text)

    def failed(missing: str) -> OperationError:
        subject = f"Longhorn's disks are not ready after {timeout_s:.0f} s"
        return _disk_error(subject, missing, consequence)

    wait_until(check, timeout_s, failed)


def _growing(
    problem: StorageProblem, disks: Sequence[Disk], old_sizes: Mapping[str, int]
) -> StorageProblem | None:
    """A better description of a size problem, if the disk still has its old size."""
    node = problem.subject
    if node not in old_sizes or any(
        it.subject == node for it in disk_problems(disks, {node: old_sizes[node]})
    ):
        return None
    return StorageProblem(
        subject=node,
        text=f"still reports its old data disk of {old_sizes[node]} GiB",
        fix="reboot the node: Talos grows a volume while it boots "
        f"(`{talosctl_command(node, 'reboot')}`)",
    )


def _disk_error(subject: str, problems: str, consequence: str) -> OperationError:
    return OperationError(f"{subject}:\n{problems}\n{consequence}")


def set_copies_of_claims(
    api: KubernetesWriter, claims: Collection[str], copies: int, rebuild_s: float
) -> None:
    """Set the number of copies of the volumes of these claims, and wait until attached volumes have
    them.

    ``claims`` are ``NAMESPACE/NAME``; a claim without a volume is skipped. Raises
    ``OperationError`` if copies are still missing after ``rebuild_s`` seconds.
    """
    for volume in _volumes_of(api, claims):
        if volume.copies != copies:
            try:
                set_copies(api, volume, copies)
            except KubernetesError as error:
                raise OperationError(
                    f"Longhorn refuses to set {volume.title} to {count(copies, 'copy', 'copies')}: "
                    f"{error}."
                ) from None

    def check_missing() -> None:
        volumes = _attached(api, claims)
        missing = [it for it in volumes if len(it.healthy_nodes) < copies]
        if missing:
            done = len(volumes) - len(missing)
            raise NotYet(f"{done} of {len(volumes)} volumes have them; {_describe(missing)}")

    def failed(missing: str) -> OperationError:
        return OperationError(
            f"The volumes do not have {copies} healthy copies each after {rebuild_s:.0f} s "
            f"(timeouts.rebuild_s): {missing}. Longhorn continues to rebuild copies. Check "
            "`kubectl -n longhorn-system get volumes.longhorn.io`, then run `up` again."
        )

    wait_until(check_missing, rebuild_s, failed)
    _wait_for_deletions(api, claims, copies)


def _wait_for_deletions(api: KubernetesReader, claims: Collection[str], copies: int) -> None:
    """Wait until Longhorn has deleted surplus copies; after the timeout print the rest."""

    def check_surplus() -> None:
        surplus = [it for it in _attached(api, claims) if len(it.healthy_nodes) > copies]
        if surplus:
            raise NotYet(_describe(surplus))

    try:
        wait_until(check_surplus, SURPLUS_TIMEOUT_S, OperationError)
    except OperationError as left:
        report(
            f"Longhorn has not deleted the surplus copies after {SURPLUS_TIMEOUT_S} s: {left}. It "
            "deletes them only if its setting replica-auto-balance is not `disabled`. Surplus "
            "copies need space but do no harm."
        )


def _attached(api: KubernetesReader, claims: Collection[str]) -> list[Volume]:
    try:
        return [volume for volume in _volumes_of(api, claims) if volume.is_attached]
    except KubernetesError as error:
        raise NotYet(str(error)) from None


def _volumes_of(api: KubernetesReader, claims: Collection[str]) -> list[Volume]:
    """The volumes of these claims, without released volumes of deleted claims of the same name."""
    return [it for it in read_volumes(api) if it.claim in claims and not it.is_released]


def _describe(volumes: Sequence[Volume]) -> str:
    return ", ".join(
        f"{it.title} has {len(it.healthy_nodes)} ({', '.join(it.healthy_nodes) or 'on no node'})"
        for it in volumes
    )


def volumes_with_other_copies(
    api: KubernetesReader, copies: int, without: Collection[str] = ()
) -> list[Volume]:
    """The volumes of the storage class ``longhorn`` whose wanted number of copies is not
    ``copies``.

    ``without`` are claims to skip. Raises ``KubernetesError``.
    """
    return [
        volume
        for volume in read_volumes(api)
        if volume.storage_class == STORAGE_CLASS
        and volume.copies != copies
        and volume.claim not in without
    ]


def wait_for_engines(api: KubernetesReader, chart_version: str) -> None:
    """Wait until all volumes run the engine of this Longhorn; after the timeout print the rest."""

    def check() -> None:
        try:
            storage = read_storage(api)
        except KubernetesError as error:
            raise NotYet(f"unknown, because {error}") from None
        if storage is None:
            return
        if storage.version and storage.version.lstrip("v") != chart_version:
            raise NotYet(f"unknown, because Longhorn still reports version {storage.version}")
        if storage.outdated:
            raise NotYet(_engines(storage.outdated))

    try:
        wait_until(check, ENGINE_TIMEOUT_S, OperationError)
    except OperationError as left:
        report(
            f"Volumes that still run an old engine {ENGINE_TIMEOUT_S} s after the upgrade of "
            f"Longhorn to {chart_version}: {left}. They work, but `up` refuses Longhorn's next "
            "minor version until they are upgraded. Longhorn upgrades healthy volumes by itself. "
            "You can also upgrade them in Longhorn's interface (Volume, Upgrade Engine)."
        )


def upgrade_refusal(api: KubernetesReader, old: str, new: str) -> str | None:
    """Why Longhorn cannot be upgraded from ``old`` to ``new`` now; ``None`` if it can.

    Longhorn's own check (longhorn-manager v1.12.1 upgrade/util/util.go) refuses a downgrade, a
    skipped minor version, and engine images in use whose API version the new Longhorn does not
    support. It fails in a Helm job, whose error names no volume. This program does not know which
    API versions a Longhorn supports. So before another minor version every volume must run the
    engine of the installed Longhorn. Raises ``KubernetesError``.
    """
    if problem := compatibility.upgrade_step("longhorn.chart_version", old, new):
        return f"{problem}\nLonghorn has not been changed."
    if compatibility.minor_of(old) == compatibility.minor_of(new):
        return None
    storage = read_storage(api)
    if storage is None or not storage.outdated:
        return None
    return (
        f"longhorn.chart_version: Longhorn {old} cannot be upgraded to {new} while volumes run an "
        f"old engine: {_engines(storage.outdated)}. Longhorn {new} does not start if it does not "
        "support that engine. Longhorn has not been changed. Upgrade the volumes to "
        f"{storage.engine_image} in Longhorn's interface (Volume, Upgrade Engine); if a "
        "volume is not healthy, repair or detach it first. Then run `up` again."
    )


def _engines(volumes: Sequence[Volume]) -> str:
    return ", ".join(f"{it.title} ({it.engine_image or 'unknown'})" for it in volumes)
