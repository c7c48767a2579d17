"""Backups: the target, its volumes, and the recurring jobs that write to it.

A target is a place of the rack, which outlives a cluster: the next one with the same target finds
what the former one backed up. A job runs when a test says that it is time (`Hand.due_jobs`), not
by its schedule. Left out: single backups, how many are kept, and restores.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator

import yaml

from ..client import KubernetesClient
from .objects import (
    ALL,
    NAMESPACE,
    Thing,
    by_name,
    condition,
    custom_object,
    difference,
    now,
    timestamp,
)
from .scheduling import actual_size
from .settings import Settings
from .view import View
from .volumes import ATTACHED, DEFAULT_GROUP

TARGET = "default"
_CONFIG_MAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/longhorn-default-resource"
_JOB = "recurring-job.longhorn.io/"
_GROUP = "recurring-job-group.longhorn.io/"
_TASKS = ("backup", "backup-force-create")
_POLL_INTERVAL_S = 300


async def keep(client: KubernetesClient, view: View) -> None:
    """Follow the target, run the jobs that are due, and show what the target has."""
    config_map, target, shown = await asyncio.gather(
        client.get(_CONFIG_MAP),
        client.get(f"{ALL}/backuptargets/{TARGET}"),
        client.list(f"{ALL}/backupvolumes"),
    )
    spec = target_spec(config_map)
    if target is None:
        await client.create(f"{ALL}/backuptargets", custom_object("BackupTarget", TARGET, spec))
        return
    if change := difference(target["spec"], spec):
        await client.patch(f"{ALL}/backuptargets/{TARGET}", {"spec": change})
    status = target_status(target, spec, view.hand.backup_target_error)
    await _run_due_jobs(client, view, spec["backupTargetURL"], is_available=status["available"])
    if change := difference(target.get("status") or {}, status):
        await client.patch(f"{ALL}/backuptargets/{TARGET}/status", {"status": change})
    await _show(client, view, spec["backupTargetURL"], status, by_name(shown))


def target_spec(config_map: Thing | None) -> Thing:
    """The spec of the default target, from the ConfigMap `longhorn-default-resource`."""
    text = (config_map or {}).get("data", {}).get("default-resource.yaml") or ""
    given = yaml.safe_load(text) or {}
    interval = int(given.get("backupstore-poll-interval") or _POLL_INTERVAL_S)
    return {
        "backupTargetURL": str(given.get("backup-target") or ""),
        "credentialSecret": str(given.get("backup-target-credential-secret") or ""),
        "pollInterval": f"{interval // 60}m{interval % 60}s",
    }


def target_status(target: Thing, spec: Thing, error: str) -> Thing:
    """Whether a target can be reached, and when it last was."""
    former = target.get("status") or {}
    url = spec["backupTargetURL"]
    message = "" if url else "backup target URL is empty"
    if url and error:
        message = f"failed to list system backups in {url}: {error}"
    reason = "Unavailable" if message else ""
    synced = former.get("lastSyncedAt")
    oldest = timestamp(time.time() - _POLL_INTERVAL_S)
    if not url:
        synced = None
    elif not message and (not synced or synced < oldest):
        synced = now()
    conditions = [
        condition(former.get("conditions"), "Unavailable", bool(message), reason, message)
    ]
    status: Thing = {"available": not message, "conditions": conditions}
    return status | ({"lastSyncedAt": synced} if synced else {})


def volumes_of_job(job: Thing, volumes: Iterable[Thing], settings: Settings) -> Iterator[Thing]:
    """The volumes that a recurring job backs up (v1.12.1 app/recurringjob/util.go)."""
    name, groups = job["metadata"]["name"], job["spec"].get("groups") or []
    wanted = {f"{_JOB}{name}", *(f"{_GROUP}{group}" for group in groups)}
    for volume in volumes:
        labels = volume["metadata"].get("labels") or {}
        own = {key for key in labels if key.startswith((_JOB, _GROUP))} or {DEFAULT_GROUP}
        status = volume.get("status") or {}
        is_open = (
            status.get("state") == ATTACHED or settings.allow_recurring_job_while_volume_detached
        )
        if wanted & own and is_open and status.get("robustness") != "faulted":
            yield volume


def backup_volume_name(volume: str) -> str:
    """The name of the object for a volume in the default target."""
    return f"{volume}-{hashlib.sha256(f'{volume}-{TARGET}'.encode()).hexdigest()[:8]}"


async def _run_due_jobs(
    client: KubernetesClient, view: View, url: str, *, is_available: bool
) -> None:
    for name in sorted(view.hand.due_jobs):
        job = await client.get(f"{ALL}/recurringjobs/{name}")
        if job is None:
            continue
        view.hand.due_jobs.discard(name)
        if job["spec"].get("task") not in _TASKS:
            continue
        for volume in volumes_of_job(job, view.volumes.values(), view.settings):
            whose = volume["metadata"]["name"]
            view.hand.note("backed up" if is_available else "not backed up", whose)
            if is_available:
                await _back_up(client, view, url, volume)


async def _back_up(client: KubernetesClient, view: View, url: str, volume: Thing) -> None:
    name = volume["metadata"]["name"]
    backup = {"lastBackup": f"backup-{uuid.uuid4().hex[:16]}", "lastBackupAt": now()}
    await client.patch(f"{ALL}/volumes/{name}/status", {"status": backup})
    volume.setdefault("status", {}).update(backup)
    size = int(volume["spec"]["size"])
    view.hand.backup_store.setdefault(url, {})[name] = _stored(
        size, backup["lastBackup"], backup["lastBackupAt"]
    )


def _stored(size: int, name: str, when: str) -> Thing:
    return {
        "createdAt": when,
        "dataStored": str(actual_size(size)),
        "lastBackupAt": when,
        "lastBackupName": name,
        "size": str(size),
    }


async def _show(
    client: KubernetesClient, view: View, url: str, status: Thing, shown: dict[str, Thing]
) -> None:
    """Keep an object for each volume in the target; none without a target."""
    if url and not status["available"]:
        return  # what was there stays as it was last seen
    store = dict(view.hand.backup_store.get(url, {})) if url else {}
    for name in view.hand.foreign_backup_volumes if url else ():
        store.setdefault(name, _stored(1024**3, "backup-of-another-cluster", now()))
    wanted = {backup_volume_name(name): name for name in store}
    for name in shown.keys() - wanted.keys():
        await client.delete(f"{ALL}/backupvolumes/{name}")
    for name, volume in wanted.items():
        found = shown.get(name)
        if found is None:
            spec = {"backupTargetName": TARGET, "volumeName": volume}
            await client.create(f"{ALL}/backupvolumes", custom_object("BackupVolume", name, spec))
            continue
        former = found.get("status") or {}
        if volume in view.hand.foreign_backup_volumes and former:
            continue
        if change := difference(former, {**former, **store[volume]}):
            await client.patch(f"{ALL}/backupvolumes/{name}/status", {"status": change})
