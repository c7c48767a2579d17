"""Takes the ACME account and the certificates out of the castle, encrypted, before it goes.

``make backup`` does it, and by themselves ``make up``, at its end, and ``make down``, before
anything goes. Traefik's files come through the Kubernetes API into memory, are encrypted there,
and go where ``traefik.acme.backup`` says. components/acme_backup.py puts them back.
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
from clients.kubernetes import exec
from clients.kubernetes.api import ApiError, ClusterApi
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session, SessionError
from commands import acme_record, helm_records
from commands.ask import confirmed
from components.traefik import certificate_backup, traefik
from settings.models import Settings
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER

CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
CONTAINER = "traefik"
LIMIT = 30
"""Seconds for one file: a castle that is half dead must not hold up its own destroy."""
TRIES = 3
"""Traefik does not write a file in one go: a look may come between."""
PAUSE = 1
"""Seconds between two tries."""


class NoKeyError(Exception):
    """The castle has no age key: nothing can be encrypted for it. One sentence with the fix."""


class NoCastleError(Exception):
    """There is no castle whose certificates could be kept."""


@dataclass(frozen=True)
class Found:
    """What Traefik has of one of Let's Encrypt's servers; for memory alone."""

    server: str
    content: bytes = field(repr=False)
    """Its file, byte for byte, with all keys."""
    parsed: acme_json.Content


@dataclass(frozen=True)
class Kept:
    """What is kept of one of Let's Encrypt's servers."""

    server: str
    name: str
    """Name of the backup, and where it is."""
    certificates: tuple[acme_json.Certificate, ...]
    is_new: bool
    """Whether it differs from what was kept before."""

    def __str__(self) -> str:
        count = len(self.certificates)
        what = f"the account and {count} certificate{'' if count == 1 else 's'}"
        return f"{self.server}: {what} in {self.name}{'' if self.is_new else ', as before'}"


def make(session: Session) -> int:
    """Take a backup, and tell what is in it; returns an exit code."""
    try:
        kept = take(session)
    except (NoKeyError, NoCastleError, BackupError, SettingsError) as error:
        print(error)
        return 1
    for it in kept:
        print(f"Kept of {it}")
    if not kept:
        print("Traefik has neither an account nor a certificate yet: there is nothing to keep.")
    return 0


def after_up(session: Session) -> None:
    """Take a backup of a castle that was just built or changed, or, without a key, a look.

    Raises nothing: the castle stands, and that counts.
    """
    try:
        kept = take(session)
    except NoCastleError:
        return
    except NoKeyError:
        with suppress(BackupError):
            look(session)
        return
    except (BackupError, SettingsError) as error:
        print(f"The certificates could not be kept: {error}\n`make backup` tries it again.")
        return
    for it in kept:
        if it.is_new:
            print(f"Kept of {it}")


def before_destroy(session: Session, more: Sequence[str]) -> bool:
    """Take a backup of a castle that is about to go; tell whether it may.

    ``more`` are the words for the CLI: where no backup can be taken, one of them may say yes.
    """
    try:
        for it in take(session):
            print(f"Kept of {it}", flush=True)
    except NoCastleError:
        return True
    except NoKeyError as error:
        print(f"The certificates go with the castle. {error}", flush=True)
        return True
    except (BackupError, SettingsError) as error:
        print(f"The certificates of this castle cannot be kept: {error}")
        what = "go on without: an older backup stays as it is; without one the next castle asks "
        what += "Let's Encrypt for all of them again"
        return confirmed([what], "Take the castle down all the same?", more)
    return True


def take(session: Session) -> list[Kept]:
    """Keep what Traefik has; of each server what there is, nothing where there is nothing.

    Raises ``NoCastleError``, ``NoKeyError``, ``BackupError`` or ``SettingsError``.
    """
    resources = _resources(session)
    try:
        settings = stack_settings.settings(session)
    except SessionError as error:
        raise BackupError(f"the settings cannot be read: {error}") from None
    if settings.sops.age_key is None:
        raise NoKeyError(
            "They are kept only where they can be encrypted, and there is no age key: "
            f"`make age-key STACK={session.stack}` makes one."
        )
    found = _look_into(session, resources)
    return list(_keep(found, settings, settings.sops.age_key.get_secret_value()))


def look(session: Session) -> list[Found]:
    """Read what Traefik has into memory, and note which names are signed (acme_record).

    Raises ``NoCastleError`` or ``BackupError``.
    """
    return _look_into(session, _resources(session))


def _resources(session: Session) -> list[dict[str, Any]]:
    """The resources of a castle that has certificates, with their secrets open."""
    try:
        resources: list[dict[str, Any]] = session.deployment(secrets=True).get("resources") or []
    except SessionError as error:
        raise BackupError(f"the state cannot be read: {error}") from None
    if not any(_is_volume(resource) for resource in resources):
        raise NoCastleError(f"There is no castle {session.stack} with certificates to keep.")
    return resources


def _look_into(session: Session, resources: list[dict[str, Any]]) -> list[Found]:
    api = helm_records.api_of(resources)
    if api is None:
        raise BackupError("the Kubernetes API does not answer")
    try:
        found = list(_look(api))
    except ApiError as error:
        raise BackupError(str(error)) from None
    with suppress(OSError):  # what is only shown is not worth a word
        signed = [
            acme_record.Signed(server=it.server, certificate=certificate)
            for it in found
            for certificate in it.parsed.certificates
        ]
        acme_record.keep(PROJECT_FOLDER, session.stack, signed)
    return found


def _is_volume(resource: dict[str, Any]) -> bool:
    metadata = resource.get("inputs", {}).get("metadata", {})
    return resource["type"] == CLAIM and bool(metadata.get("name") == traefik.VOLUME)


def _look(api: ClusterApi) -> Iterator[Found]:
    pod = _pod(api)
    for server, file in certificate_backup.SERVERS.items():
        content, parsed = _read(api, pod, f"/data/{file}")
        if parsed:
            _refuse_another_server(server, file, parsed)
            yield Found(server, content, parsed)


def _keep(found: list[Found], settings: Settings, key: str) -> Iterator[Kept]:
    place = certificate_backup.place_of(settings)
    for it in found:
        name = certificate_backup.name_of(settings.stack, it.server)
        is_new = _before(place, name, key) != it.content
        if is_new:
            place.write(name, certificate_backup.seal(it.content, key))
        yield Kept(it.server, f"{place}/{name}", it.parsed.certificates, is_new)
    size = sum(len(it.content) for it in found)
    if size > certificate_backup.MOST:
        print(
            f"These are {size} bytes, and only {certificate_backup.MOST} can be put back: write "
            "host names that are not used any more out of your routes."
        )


def _before(place: BackupStore, name: str, key: str) -> bytes | None:
    """What was kept last; nothing where it cannot be opened, and moves on as an older one."""
    sealed = place.read(name)
    try:
        return certificate_backup.unseal(sealed, key) if sealed else None
    except BackupError:
        return None


def _pod(api: ClusterApi) -> str:
    """The one pod of Traefik."""
    selector = urllib.parse.quote("app.kubernetes.io/name=traefik")
    pods = api.items(f"/api/v1/namespaces/{traefik.NAMESPACE}/pods?labelSelector={selector}")
    for pod in pods:
        running = pod.get("status", {}).get("phase") == "Running"
        if running and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    raise BackupError("no pod of Traefik is running, and it alone has the volume")


def _read(api: ClusterApi, pod: str, file: str) -> tuple[bytes, acme_json.Content]:
    """A file of Traefik's, whole; empty where there is none."""
    command = ["sh", "-c", f"test ! -e {file} || cat {file}"]
    for left in reversed(range(TRIES)):
        content = exec.run(api, traefik.NAMESPACE, pod, CONTAINER, command, LIMIT)
        try:
            return content, acme_json.read(content)
        except ValueError as error:
            if not left:
                raise BackupError(f"{file} cannot be read: {error}") from None
            time.sleep(PAUSE)
    raise AssertionError("unreachable")


def _refuse_another_server(server: str, file: str, found: acme_json.Content) -> None:
    """What staging signed is never kept as production's, whatever file it lies in."""
    directory = urllib.parse.urlsplit(traefik.CA_SERVERS[server]).hostname
    if others := found.servers - {directory}:
        raise BackupError(
            f"/data/{file} is {server}'s, but has an account at {', '.join(sorted(others))}"
        )
