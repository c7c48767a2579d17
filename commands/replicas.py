"""``make replicas``: give every volume of the storage class as many copies as the stack file says.

``make up`` changes only the volumes of the stack's own claims. This command changes all others too,
after a question, because it copies or deletes the data of applications.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.longhorn import STORAGE_CLASS, Volume, set_copies
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.kubeconfig import kubeconfig_of
from clients.pulumi_cli.session import Session, SessionError
from commands.ask import confirmed
from lifecycle.operations.longhorn import volumes_with_other_copies
from lifecycle.operations.storage_health import gib
from settings.problems import SettingsError

WATCH = "kubectl -n longhorn-system get volumes.longhorn.io,replicas.longhorn.io"


def set_replicas(session: Session, more: Sequence[str]) -> int:
    """Ask, and set the number of copies. Waits for nothing. Returns an exit code.

    ``more`` are the words for the CLI: one of them may answer the question.
    """
    try:
        copies = stack_settings.settings(session).replicas
        kubeconfig = kubeconfig_of(session)
        if kubeconfig is None:
            print(f"The stack {session.stack} has no cluster: there is no volume to change.")
            return 1
        api = ClusterApi.of(kubeconfig)
        volumes = volumes_with_other_copies(api, copies)
    except (ApiError, SessionError, SettingsError) as error:
        print(f"The copies were not changed: {error}")
        return 1
    if not volumes:
        print(
            f"Every volume of storage class {STORAGE_CLASS} has {copies} as its number of copies."
        )
        return 0
    print(f"Volumes of storage class {STORAGE_CLASS} that do not have {copies} as their number:")
    if not confirmed(_changes(volumes, copies), "Change them?", more):
        print("Nothing has been changed.")
        return 1
    return _set(api, volumes, copies)


def _set(api: ClusterApi, volumes: Sequence[Volume], copies: int) -> int:
    """Set all that Longhorn allows, and print what it refuses."""
    refused = 0
    for volume in volumes:
        try:
            set_copies(api, volume, copies)
        except ApiError as error:
            refused += 1
            print(f"{volume.title} keeps {volume.copies}: {error}")
    if refused < len(volumes):
        print(
            f"{len(volumes) - refused} set to {copies}. Longhorn copies and deletes now, and only "
            f"while a volume is attached. Watch it with `{WATCH}`."
        )
    return 1 if refused else 0


def _changes(volumes: Sequence[Volume], copies: int) -> Iterator[str]:
    """One sentence for each volume, and one for all of them."""
    copied = deleted = 0
    for volume in sorted(volumes, key=lambda it: it.title):
        more = copies - volume.copies
        copied += max(0, more) * volume.size
        deleted += max(0, -more) * volume.size
        released = ", its claim is deleted" if volume.is_released else ""
        yield f"{volume.title} ({gib(volume.size)}{released}): {volume.copies} → {copies}"
    effects = [f"copies up to {gib(copied)}"] if copied else []
    effects += [f"deletes up to {gib(deleted)} of surplus copies"] if deleted else []
    yield f"Longhorn {' and '.join(effects)}, by the sizes of the volumes"
