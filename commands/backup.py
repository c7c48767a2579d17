"""``make backup``: save Traefik's ACME account and certificates, encrypted, outside the cluster.

``make up`` does this at its end and ``make down`` before it deletes anything. The files are read
through the Kubernetes API into memory, encrypted there, and stored in the folder or bucket of
``traefik.acme.backup.target``. ``components/traefik/certificate_backup.py`` restores them.
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from backup import acme_json
from backup.store import BackupError, BackupStore
from clients.errors import OperationError
from clients.kubernetes import exec
from clients.kubernetes.api import ClusterApi
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import PulumiError, Session
from commands import acme_record, helm_records
from commands.ask import confirmed
from components.traefik import certificate_backup, traefik
from settings.models import Settings
from settings.problems import SettingsError

CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
CONTAINER = "traefik"
READ_TIMEOUT_S = 30
"""Time to read one file: an unhealthy cluster must not delay ``make down`` for long."""
READ_TRIES = 3
"""Reads of one file, because Traefik does not write a file atomically."""
RETRY_PAUSE_S = 1
"""Pause between two reads of the same file."""


class NoKeyError(Exception):
    """The stack has no age key, so nothing can be encrypted; the text includes the fix."""


class NoClusterError(Exception):
    """The state contains no certificate volume, so there is nothing to back up."""


@dataclass(frozen=True)
class AcmeFile:
    """One of Traefik's ACME files; contains private keys, so it stays in memory."""

    server: str
    """Let's Encrypt server: ``staging`` or ``production``."""
    content: bytes = field(repr=False)
    """Raw content of the file, including all private keys."""
    parsed: acme_json.Content


@dataclass(frozen=True)
class SavedBackup:
    """The stored backup of one ACME file."""

    server: str
    """Let's Encrypt server: ``staging`` or ``production``."""
    name: str
    """Folder or bucket, and file name."""
    certificates: tuple[acme_json.Certificate, ...]
    is_new: bool
    """Whether the content differs from the previous backup."""

    def __str__(self) -> str:
        count = len(self.certificates)
        content = f"the ACME account and {count} certificate{'' if count == 1 else 's'}"
        return f"{self.server}: {content} in {self.name}{'' if self.is_new else ' (unchanged)'}"


def run_backup(session: Session) -> int:
    """Save the certificates and print what was saved; returns an exit code."""
    try:
        saved = save_certificates(session)
    except (NoKeyError, NoClusterError, BackupError, SettingsError) as error:
        print(error)
        return 1
    for backup in saved:
        print(f"Saved for {backup}")
    if not saved:
        print("Traefik has no ACME account and no certificate yet: nothing to back up.")
    return 0


def after_up(session: Session) -> None:
    """Save the certificates after an ``up``; without an age key only record names and dates.

    Raises nothing: a failed backup must not fail the ``up``.
    """
    try:
        saved = save_certificates(session)
    except NoClusterError:
        return
    except NoKeyError:
        with suppress(BackupError):
            record_certificates(session)
        return
    except (BackupError, SettingsError) as error:
        print(f"The certificates could not be saved: {error}\nTo try again, run `make backup`.")
        return
    for backup in saved:
        if backup.is_new:
            print(f"Saved for {backup}")


def before_destroy(session: Session, cli_args: Sequence[str]) -> bool:
    """Save the certificates before ``down``; tell whether ``down`` may continue.

    If no backup is possible, the user is asked; a yes flag in ``cli_args`` answers.
    """
    try:
        for backup in save_certificates(session):
            print(f"Saved for {backup}", flush=True)
    except NoClusterError:
        return True
    except NoKeyError as error:
        print(f"The certificates will be deleted with the stack. {error}", flush=True)
        return True
    except (BackupError, SettingsError) as error:
        print(f"The certificates of this stack cannot be saved: {error}")
        effect = (
            "continue without a new backup. An older backup is not changed. Without any backup the "
            "next cluster requests all certificates from Let's Encrypt again"
        )
        return confirmed([effect], "Destroy the stack without a new backup?", cli_args)
    return True


def save_certificates(session: Session) -> list[SavedBackup]:
    """Encrypt and store Traefik's ACME files; returns one entry for each file with content.

    Raises ``NoClusterError``, ``NoKeyError``, ``BackupError`` or ``SettingsError``.
    """
    resources = _read_resources(session)
    try:
        settings = stack_settings.settings(session)
    except PulumiError as error:
        raise BackupError(f"the settings cannot be read: {error}") from None
    if settings.sops.age_key is None:
        raise NoKeyError(
            "Backups are always encrypted, and this stack has no age key. To create one, run "
            f"`make age-key STACK={session.stack}`."
        )
    files = _read_and_record(session, resources)
    return list(_store(files, settings, settings.sops.age_key.get_secret_value()))


def record_certificates(session: Session) -> None:
    """Write names and dates of Traefik's certificates to the record (``acme_record``).

    Raises ``NoClusterError`` or ``BackupError``.
    """
    _read_and_record(session, _read_resources(session))


def _read_resources(session: Session) -> list[dict[str, Any]]:
    """Return the resources of the state, secrets in plain text, if it has a certificate volume."""
    try:
        resources = session.resources(secrets=True)
    except PulumiError as error:
        raise BackupError(f"the state cannot be read: {error}") from None
    if not any(_is_certificate_volume(resource) for resource in resources):
        raise NoClusterError(
            f"The stack {session.stack} has no volume with certificates: nothing to back up."
        )
    return resources


def _is_certificate_volume(resource: dict[str, Any]) -> bool:
    metadata = resource.get("inputs", {}).get("metadata", {})
    return resource["type"] == CLAIM and bool(metadata.get("name") == traefik.VOLUME)


def _read_and_record(session: Session, resources: list[dict[str, Any]]) -> list[AcmeFile]:
    api = helm_records.api_of(resources)
    if api is None:
        raise BackupError("the Kubernetes API does not answer")
    try:
        files = list(_read_files(api))
    except OperationError as error:
        raise BackupError(str(error)) from None
    with suppress(OSError):  # the record is informative only
        signed = [
            acme_record.Signed(server=file.server, certificate=certificate)
            for file in files
            for certificate in file.parsed.certificates
        ]
        acme_record.keep(session.project, session.stack, signed)
    return files


def _read_files(api: ClusterApi) -> Iterator[AcmeFile]:
    pod = _find_pod(api)
    for server, file in certificate_backup.SERVERS.items():
        content, parsed = _read_file(api, pod, f"/data/{file}")
        if parsed:
            _check_server(server, file, parsed)
            yield AcmeFile(server, content, parsed)


def _store(files: list[AcmeFile], settings: Settings, key: str) -> Iterator[SavedBackup]:
    store = certificate_backup.open_store(settings)
    for file in files:
        name = certificate_backup.backup_name(settings.stack, file.server)
        is_new = _last_content(store, name, key) != file.content
        if is_new:
            store.write(name, certificate_backup.seal(file.content, key))
        yield SavedBackup(file.server, f"{store}/{name}", file.parsed.certificates, is_new)
    size = sum(len(file.content) for file in files)
    if size > certificate_backup.MAX_BYTES:
        print(
            f"The backup has {size} bytes, but a Kubernetes Secret can restore only "
            f"{certificate_backup.MAX_BYTES}: remove unused host names from your routes."
        )


def _last_content(store: BackupStore, name: str, key: str) -> bytes | None:
    """Return the decrypted last backup; ``None`` if there is none or the key does not fit.

    The store then renames the old backup when the new one is written.
    """
    sealed = store.read(name)
    try:
        return certificate_backup.unseal(sealed, key) if sealed else None
    except BackupError:
        return None


def _find_pod(api: ClusterApi) -> str:
    """Return the name of Traefik's running pod."""
    selector = urllib.parse.quote("app.kubernetes.io/name=traefik")
    pods = api.items(f"/api/v1/namespaces/{traefik.NAMESPACE}/pods?labelSelector={selector}")
    for pod in pods:
        running = pod.get("status", {}).get("phase") == "Running"
        if running and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    raise BackupError(
        "no Traefik pod is running, and only Traefik's pod mounts the volume with the certificates"
    )


def _read_file(api: ClusterApi, pod: str, file: str) -> tuple[bytes, acme_json.Content]:
    """Read a complete file from Traefik's pod; a missing file reads as empty."""
    command = ["sh", "-c", f"test ! -e {file} || cat {file}"]
    for tries_left in reversed(range(READ_TRIES)):
        content = exec.run(api, traefik.NAMESPACE, pod, CONTAINER, command, READ_TIMEOUT_S)
        try:
            return content, acme_json.read(content)
        except ValueError as error:
            if not tries_left:
                raise BackupError(f"{file} cannot be read: {error}") from None
            time.sleep(RETRY_PAUSE_S)
    raise AssertionError("unreachable")


def _check_server(server: str, file: str, content: acme_json.Content) -> None:
    """Raise ``BackupError`` if the file has an account of the other Let's Encrypt server.

    Staging certificates must never be saved as production certificates.
    """
    expected = urllib.parse.urlsplit(traefik.CA_SERVERS[server]).hostname
    if others := content.servers - {expected}:
        raise BackupError(
            f"/data/{file} is the file for {server}, but has an account at "
            f"{', '.join(sorted(others))}"
        )
