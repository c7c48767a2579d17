"""The faults that a test causes, and a log of what happened to the machines."""

from __future__ import annotations

import dataclasses
import time
from typing import Any


@dataclasses.dataclass
class Hand:
    """Faults of machines, and a log of their events."""

    reboot_s: float = 1.0
    """Seconds that a machine is away when it reboots."""
    stays_down: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines that do not boot any more."""
    deaf: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines that do not shut down when Proxmox asks them to."""
    sick_etcd: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines whose etcd does not answer."""
    unsynchronized: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines that no time server answers: their kubelet and etcd do not start."""
    etcd_pull_s: float = 0.0
    """Seconds from a bootstrap until etcd has data: a machine pulls etcd's image first."""
    image_fault: str = ""
    """Why installer images cannot be pulled: ``missing``, ``unreachable`` (Talos tries again for 20
    minutes, and only the node's log says why) or ``stalled`` (no more data)."""
    runtime_s: float = 0.0
    """Seconds from power-on until the container runtime runs, and a bootstrap is possible."""
    restart_s: float = 1.0
    """Seconds until a program of a control plane is ready again that begins anew."""
    beginning: dict[str, float] = dataclasses.field(default_factory=dict)
    """The pods of those programs that are not yet ready again, and since when."""
    rebuilds: bool = True
    """Whether Longhorn finishes the rebuilding of replicas."""
    engine_upgrades: bool = True
    """Whether Longhorn moves volumes to another engine image, if it is asked to."""
    due_jobs: set[str] = dataclasses.field(default_factory=set)
    """Longhorn's recurring jobs that are to run now, by their names; each leaves when it ran."""
    backup_target_error: str = ""
    """Why Longhorn's backup target cannot be reached; empty if it can."""
    foreign_backup_volumes: set[str] = dataclasses.field(default_factory=set)
    """Volumes of another cluster, by their names, with backups in every target."""
    backup_store: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """What was backed up: by the target's URL and the volume, the status of its BackupVolume."""
    toleration_s: int = 300
    """Seconds that pods stay on a node that is not ready; for a control plane that starts later."""
    diary: list[tuple[float, str, str]] = dataclasses.field(default_factory=list)
    """When, what, and whose: ``up`` and ``down`` a machine's address, ``stopped`` and ``runs`` the
    pod of a control plane's program, ``lost``, ``backed up`` and ``not backed up`` a volume."""

    def note(self, what: str, whose: str) -> None:
        """Write into the diary."""
        self.diary.append((time.monotonic(), what, whose))
