"""Checks of the storage that Longhorn reports: disks, copies, engines, backups.

They report no failures, because ``make up`` may be the repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from threading import Lock

from clients.errors import OperationError
from clients.kubernetes.longhorn import Storage
from doctor.context import Context
from doctor.findings import Finding, gib, note, ok, warning
from lifecycle.operations import storage_health
from lifecycle.operations.storage_health import StorageProblem
from settings.wording import count


def read_once(read: Callable[[], Storage | None]) -> Callable[[], Storage | None]:
    """Wrap ``read`` so that it runs once, and all threads get its result or ``OperationError``."""
    lock = Lock()
    answers: list[Storage | OperationError | None] = []

    def answer() -> Storage | None:
        with lock:
            if not answers:
                try:
                    answers.append(read())
                except OperationError as error:
                    answers.append(error)
        (found,) = answers
        if isinstance(found, OperationError):
            raise found.with_traceback(None)
        return found

    return answer


def check_access(context: Context) -> Iterator[Finding]:
    """Report why the other storage checks have no findings, if they have none."""
    try:
        if context.storage() is None:
            yield note("storage", "is not checked: this stack has no cluster with Longhorn yet")
    except OperationError as error:
        yield warning(
            "storage",
            f"is not checked: {error}",
            "if the cluster is down, start its VMs in Proxmox or run `make up`",
        )


def check_data_disks(context: Context) -> Iterator[Finding]:
    """Check that Longhorn stores its data on the data disks, and that they have free space."""
    if storage := storage_of(context):
        deployed = _deployed_data_disks(context)
        pending = storage_health.data_disks(context.settings).keys() - deployed.keys()
        names = {node.name for node in context.settings.machines} - pending
        compared = [disk for disk in storage.disks if disk.node in names]
        problems = [
            *storage_health.disk_problems(compared, deployed),
            *storage_health.full_disk_problems(storage.disks),
        ]
        free = gib(sum(disk.available for disk in storage.disks))
        size = gib(sum(disk.size for disk in storage.disks))
        nodes = count(len({disk.node for disk in storage.disks}), "node")
        text = f"hold Longhorn's data on {nodes}: {free} of {size} are free"
        yield from _findings(problems, ok("data disks", text))


def check_copies(context: Context) -> Iterator[Finding]:
    """Check that each volume has all its copies, and that they are not all on one Proxmox host."""
    if storage := storage_of(context):
        problems = [
            *storage_health.copy_problems(storage, context.settings.replicas),
            *storage_health.released_problems(storage),
        ]
        text = f"have all their copies: {count(len(storage.volumes), 'volume')}"
        yield from _findings(problems, ok("volumes", text))


def check_engines(context: Context) -> Iterator[Finding]:
    """Check that each volume runs with the engine of the installed Longhorn."""
    if storage := storage_of(context):
        good = ok("engines", f"are those of the installed Longhorn ({storage.engine_image})")
        yield from _findings(storage_health.engine_problems(storage), good)


def check_backup_target(context: Context) -> Iterator[Finding]:
    """Check that Longhorn can use its backup target."""
    if storage := storage_of(context):
        problems = storage_health.target_problems(storage, context.settings)
        url = storage.target.url if storage.target else ""
        yield from _findings(problems, ok(url, "is available to Longhorn") if url else None)


def check_backups(context: Context) -> Iterator[Finding]:
    """Check that each volume has a recent backup."""
    if storage := storage_of(context):
        problems = storage_health.backup_problems(storage, context.settings, datetime.now(UTC))
        has_schedule = context.settings.longhorn.backup is not None
        good = ok("backups", "are as recent as the schedule requires") if has_schedule else None
        yield from _findings(problems, good)


def storage_of(context: Context) -> Storage | None:
    """The storage of the running cluster; None without Longhorn, or if the API does not answer."""
    try:
        return context.storage()
    except OperationError:
        return None


def _deployed_data_disks(context: Context) -> dict[str, int]:
    """Data disks in GiB of the nodes that exist, without those that the next ``up`` enlarges."""
    sizes = storage_health.data_disks(context.settings)
    own = {it.vm_id: sum(it.disks.values()) for it in context.proxmox.stack_vms()}
    return {
        node.name: sizes[node.name]
        for node in context.settings.machines
        if node.name in sizes
        and own.get(node.vm_id, 0) >= (node.os_disk_gib + sizes[node.name]) * storage_health.GIB
    }


def _findings(problems: Iterable[StorageProblem], good: Finding | None) -> Iterator[Finding]:
    """Yield a finding for each problem; first ``good`` if there is no warning among them."""
    found = list(problems)
    if good and all(it.severity == "note" for it in found):
        yield good
    for it in found:
        create = note if it.severity == "note" else warning
        yield create(it.subject, it.text, it.fix)
