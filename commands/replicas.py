"""``make replicas``: set the number of copies of all Longhorn volumes to the stack file's value.

``make up`` changes only volumes of the stack's own claims. This command also changes the volumes of
applications, and asks first, because Longhorn then copies or deletes their data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.kubernetes.longhorn import STORAGE_CLASS, Volume, set_copies
from clients.pulumi_cli import stack_settings, state
from clients.pulumi_cli.session import Session
from commands.ask import confirmed
from lifecycle.operations.longhorn import volumes_with_other_copies
from lifecycle.operations.storage_health import gib
from settings.problems import SettingsError

WATCH = "kubectl -n longhorn-system get volumes.longhorn.io,replicas.longhorn.io"


def set_replicas(session: Session, cli_args: Sequence[str]) -> int:
    """Ask, and set the number of copies without waiting for Longhorn; returns an exit code.

    A yes flag in ``cli_args`` answers the question.
    """
    try:
        copies = stack_settings.settings(session).replicas
        kubeconfig = state.kubeconfig(session)
        if kubeconfig is None:
            print(f"The stack {session.stack} has no cluster, so it has no volumes to change.")
            return 1
        api = ClusterApi.of(kubeconfig)
        volumes = volumes_with_other_copies(api, copies)
    except (OperationError, SettingsError) as error:
        print(f"The number of copies was not changed: {error}")
        return 1
    if not volumes:
        print(
            f"All volumes of storage class {STORAGE_CLASS} already have the number of copies "
            f"{copies}."
        )
        return 0
    print(f"Volumes of storage class {STORAGE_CLASS} with another number of copies than {copies}:")
    if not confirmed(_describe_changes(volumes, copies), "Change them?", cli_args):
        print("Nothing has been changed.")
        return 1
    return _set_copies(api, volumes, copies)


def _set_copies(api: ClusterApi, volumes: Sequence[Volume], copies: int) -> int:
    """Set the number of copies of each volume; print each volume that Longhorn does not change."""
    refused = 0
    for volume in volumes:
        try:
            set_copies(api, volume, copies)
        except KubernetesError as error:
            refused += 1
            print(f"{volume.title} was not changed (number of copies: {volume.copies}): {error}")
    if changed := len(volumes) - refused:
        print(
            f"Set the number of copies to {copies} in {changed} of {len(volumes)} volumes. "
            "Longhorn now copies and deletes data in the background, and only while a volume is "
            f"attached. To watch it: `{WATCH}`"
        )
    return 1 if refused else 0


def _describe_changes(volumes: Sequence[Volume], copies: int) -> Iterator[str]:
    """Yield a line for each volume, and a line with the total amount of data."""
    copied_bytes = deleted_bytes = 0
    for volume in sorted(volumes, key=lambda it: it.title):
        difference = copies - volume.copies
        copied_bytes += max(0, difference) * volume.size
        deleted_bytes += max(0, -difference) * volume.size
        released = ", its claim is deleted" if volume.is_released else ""
        yield f"{volume.title} ({gib(volume.size)}{released}): {volume.copies} → {copies} copies"
    effects = [f"copies up to {gib(copied_bytes)}"] if copied_bytes else []
    effects += [f"deletes up to {gib(deleted_bytes)} of surplus copies"] if deleted_bytes else []
    yield f"in total Longhorn {' and '.join(effects)}, calculated from the volume sizes"
