"""A new castle from the snapshot of one that was: ``cluster.restore_from``.

Its machine secrets are those of the old castle, by the talos provider's own import, for what lies
in etcd is encrypted, signed and trusted by them; its etcd begins with the snapshot
(``bootstrap.py``); and Helm's records of the old castle's releases, which came back with it, give
way when ours are made, so that the engine installs over what is there.

A castle that lives takes nothing from the file, which may be gone by then. Leaves out what lies on
disks: a volume's data comes back from a backup.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi

from backup.etcd_archive import Archive, ArchiveError
from clients.kubernetes import helm_release
from clients.kubernetes.api import ClusterApi
from settings import compatibility
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER, STATE_FOLDER

if TYPE_CHECKING:
    from settings.models import Settings

SETTING = "cluster.restore_from"
HELM_RELEASE = "kubernetes:helm.sh/v3:Release"


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What a castle is restored from."""

    setting: str
    """The file as the stack file names it."""
    path: Path
    """The file."""
    key: str
    """The age key that opens it."""
    secrets: str | None
    """The machine secrets in it; none for a castle that has its own already."""
    stack: str
    """The stack's name."""

    def import_id(self) -> str | None:
        """What the talos provider imports the machine secrets from, once; none if nothing.

        It reads a file. This one is a pipe, which gives the secrets to the first who asks and then
        goes: they never lie on a disk. Its name is always the same, for to the engine another name
        is another import.
        """
        if self.secrets is None:
            return None
        pipe = STATE_FOLDER / f"restore-{self.stack}"
        pipe.parent.mkdir(mode=0o700, exist_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        atexit.register(pipe.unlink, missing_ok=True)
        threading.Thread(target=_hand_over, args=(pipe, self.secrets), daemon=True).start()
        return str(pipe)

    def over_old_releases(self, kubeconfig: pulumi.Output[str]) -> pulumi.ResourceTransformation:
        """Let each Helm release take the place of the old castle's one of its name."""

        async def forget(args: pulumi.ResourceHookArgs) -> None:
            inputs = args.new_inputs or {}
            text = await kubeconfig.future()
            if text is not None:
                release = helm_release.Release(inputs["name"], inputs["namespace"])
                helm_release.forget(ClusterApi.of(text), release)

        hook = pulumi.ResourceHook("forget-the-old-release", forget)

        def transform(
            args: pulumi.ResourceTransformationArgs,
        ) -> pulumi.ResourceTransformationResult | None:
            if args.type_ != HELM_RELEASE:
                return None
            binding = pulumi.ResourceHookBinding(before_create=[hook])
            opts = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(hooks=binding))
            return pulumi.ResourceTransformationResult(args.props, opts)

        return transform


def plan(settings: Settings) -> Restore | None:
    """What the cluster of a stack is restored from, if its settings say so.

    A cluster that has its machine secrets already takes none from the file. Raises
    ``SettingsError`` if a new cluster cannot be restored from the file.
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


def bootstrap_inputs(restore: Restore | None) -> Mapping[str, Any]:
    """What the bootstrap is told of a restore; the key becomes a secret."""
    if restore is None:
        return {}
    return {
        "restore_from": restore.setting,
        "archive": str(restore.path),
        "age_key": pulumi.Output.secret(restore.key),
    }


def _read(settings: Settings, path: Path, key: str) -> Archive:
    def refuse(reason: str, fix: str) -> SettingsError:
        problem = Problem(SETTING, str(settings.cluster.restore_from), reason, fix)
        return SettingsError([problem], settings.stack)

    try:
        if not path.stat().st_size:
            raise refuse("is an empty file", "name another snapshot; `make snapshot` takes them")
        archive = Archive.opened(path.read_bytes(), key)
    except OSError as error:
        raise refuse(
            f"cannot be read: {error.strerror or error}",
            f"write its path, from {PROJECT_FOLDER} or from the root",
        ) from None
    except ArchiveError as error:
        raise refuse(
            str(error), "name a snapshot of `make snapshot`, and the key that it was made with"
        ) from None
    if fault := compatibility.kubernetes_of_a_snapshot(
        archive.kubernetes, settings.cluster.kubernetes
    ):
        raise refuse(*fault)
    return archive


def _hand_over(pipe: Path, secrets: str) -> None:
    """Give the secrets to the first who reads the pipe; for ever waiting where nobody does."""
    with suppress(OSError):
        with pipe.open("w", encoding="utf-8") as writer:
            writer.write(secrets)
        pipe.unlink()
