"""Restores a new cluster from a snapshot of an old one (``cluster.restore_from``).

- The Talos provider imports the machine secrets of the old cluster, because the data in etcd is
  encrypted and signed with them.
- etcd starts with the snapshot (``bootstrap.py``).
- Helm's release records of the old cluster are deleted before Pulumi installs the same releases.

A cluster that already has machine secrets does not read the file. Data of volumes is not restored
here, but from Longhorn's backups.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi

from backup.etcd_archive import Archive, ArchiveError
from clients.kubernetes import helm_release
from clients.kubernetes.api import ClusterApi
from settings import compatibility
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER, STATE_FOLDER
from settings.resource_types import RELEASE

if TYPE_CHECKING:
    from settings.models import Settings

SETTING = "cluster.restore_from"


@dataclass(frozen=True, kw_only=True)
class Restore:
    """The snapshot file from which a cluster is restored."""

    setting: str
    """Path of the file as in the stack file."""
    path: Path
    """Absolute path of the file."""
    key: str
    """The age key that decrypts it."""
    secrets: str | None
    """The machine secrets in it; ``None`` if the cluster already has machine secrets."""
    stack: str
    """Name of the stack."""

    def import_id(self) -> str | None:
        """Create the file from which the Talos provider imports the machine secrets; returns its
        path, ``None`` if there is nothing to import.

        The file is a named pipe that gives the secrets to the first reader and is then removed, so
        the secrets are never on a disk. Its name is constant, because Pulumi treats another import
        id as another import.
        """
        if self.secrets is None:
            return None
        pipe = STATE_FOLDER / f"restore-{self.stack}"
        pipe.parent.mkdir(mode=0o700, exist_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        atexit.register(pipe.unlink, missing_ok=True)
        threading.Thread(target=_write_to_pipe, args=(pipe, self.secrets), daemon=True).start()
        return str(pipe)

    def over_old_releases(self, kubeconfig: pulumi.Output[str]) -> pulumi.ResourceTransformation:
        """A transformation that deletes old Helm records before Pulumi creates a release.

        Otherwise Helm refuses a release whose name exists in the restored cluster.
        """

        async def delete_old_records(args: pulumi.ResourceHookArgs) -> None:
            inputs = args.new_inputs or {}
            text = await kubeconfig.future()
            if text is not None:
                release = helm_release.Release(inputs["name"], inputs["namespace"])
                helm_release.forget(ClusterApi.of(text), release)

        hook = pulumi.ResourceHook("forget-the-old-release", delete_old_records)

        def transform(
            args: pulumi.ResourceTransformationArgs,
        ) -> pulumi.ResourceTransformationResult | None:
            if args.type_ != RELEASE:
                return None
            binding = pulumi.ResourceHookBinding(before_create=[hook])
            opts = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(hooks=binding))
            return pulumi.ResourceTransformationResult(args.props, opts)

        return transform


def plan(settings: Settings) -> Restore | None:
    """The snapshot file of a stack; ``None`` without ``cluster.restore_from``.

    The file is read only if the stack has no machine secrets yet. Raises ``SettingsError`` if the
    cluster cannot be restored from it.
    """
    setting, key = settings.cluster.restore_from, settings.sops.age_key
    if setting is None or key is None:
        return None
    path = PROJECT_FOLDER / setting
    secrets = None
    if not settings.running.has_machine_secrets:
        secrets = _read(settings, path, key.get_secret_value()).secrets
    return Restore(
        setting=setting,
        path=path,
        key=key.get_secret_value(),
        secrets=secrets,
        stack=settings.stack,
    )


def _read(settings: Settings, path: Path, key: str) -> Archive:
    def refuse(reason: str, fix: str) -> SettingsError:
        problem = Problem(SETTING, str(settings.cluster.restore_from), reason, fix)
        return SettingsError([problem], settings.stack)

    try:
        if not path.stat().st_size:
            raise refuse("is an empty file", "choose another file; `make snapshot` creates them")
        archive = Archive.opened(path.read_bytes(), key)
    except OSError as error:
        raise refuse(
            f"cannot be read: {error.strerror or error}",
            f"set its absolute path, or its path relative to {PROJECT_FOLDER}",
        ) from None
    except ArchiveError as error:
        raise refuse(
            str(error),
            "choose a file that `make snapshot` has created, and set sops.age_key to the key with "
            "which it was encrypted",
        ) from None
    if fault := compatibility.kubernetes_of_a_snapshot(
        archive.kubernetes, settings.cluster.kubernetes
    ):
        raise refuse(*fault)
    return archive


def _write_to_pipe(pipe: Path, secrets: str) -> None:
    """Write the secrets for the first reader of the pipe. Without a reader this blocks until the
    process ends."""
    with suppress(OSError):
        with pipe.open("w", encoding="utf-8") as writer:
            writer.write(secrets)
        pipe.unlink()
