"""The storage of the page: data disks of the stack file, everything else from the last record."""

from __future__ import annotations

from datetime import datetime

from clients.kubernetes.longhorn import DATA_PATH, Storage, Volume
from doctor.storage_record import StorageRecord
from lifecycle.operations.storage_health import GIB, age, storage_problems
from report import model
from settings.models import Settings
from settings.storage import usable_gib


def build_storage(settings: Settings, record: StorageRecord | None) -> model.Storage:
    """Build the storage of a stack; ``record`` is None if Longhorn was never read."""
    storage = record.storage if record else Storage()
    moment = record.moment if record else None
    target = storage.target
    return model.Storage(
        recorded=moment,
        nodes=_build_nodes(settings, storage),
        volumes=tuple(
            _build_volume(it, storage.engine_image, moment)
            for it in sorted(storage.volumes, key=lambda it: it.title)
        )
        if moment
        else (),
        target=target if target and target.url else None,
        problems=tuple(storage_problems(storage, settings, moment, is_deployed=False))
        if moment
        else (),
    )


def _build_nodes(settings: Settings, storage: Storage) -> tuple[model.StorageNode, ...]:
    disks = {disk.node: disk for disk in storage.disks if disk.path == DATA_PATH and disk.size}
    nodes = []
    for node in settings.machines:
        if node.data_disk_gib is None:
            continue
        disk = disks.get(node.name)
        nodes.append(
            model.StorageNode(
                name=node.name,
                host=node.host,
                data_disk_gib=node.data_disk_gib,
                usable_gib=round(usable_gib(node.data_disk_gib), 1),
                capacity_gib=_to_gib(disk.size) if disk else None,
                allocated_gib=_to_gib(disk.scheduled) if disk else None,
                used_gib=_to_gib(disk.size - disk.available) if disk else None,
            )
        )
    return tuple(nodes)


def _build_volume(volume: Volume, engine_image: str, moment: datetime) -> model.Volume:
    return model.Volume(
        name=volume.name,
        claim=volume.claim,
        use="released" if volume.is_released else "attached" if volume.is_attached else "detached",
        size_gib=_to_gib(volume.size),
        copies=volume.copies,
        healthy_copies=len(volume.healthy_nodes),
        hosts=volume.zones,
        engine_image=volume.engine_image,
        has_current_engine=volume.engine_image == engine_image,
        last_backup=volume.last_backup,
        backup_age=age(moment - volume.last_backup) if volume.last_backup else "",
    )


def _to_gib(size: int) -> float:
    return round(size / GIB, 1)
