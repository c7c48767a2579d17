"""What a test orders of the machines, and what it can look up afterwards."""

from __future__ import annotations

import dataclasses
import time


@dataclasses.dataclass
class Hand:
    """Faults of machines, and a diary of them."""

    reboot_s: float = 1.0
    """Seconds that a machine is away when it reboots."""
    stays_down: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines that do not boot any more."""
    sick_etcd: set[str] = dataclasses.field(default_factory=set)
    """Addresses of machines whose etcd does not answer."""
    restart_s: float = 1.0
    """Seconds until a program of a control plane is ready again that begins anew."""
    beginning: dict[str, float] = dataclasses.field(default_factory=dict)
    """The pods of those programs that are not yet ready again, and since when."""
    rebuilds: bool = True
    """Whether Longhorn finishes the rebuilding of replicas."""
    diary: list[tuple[float, str, str]] = dataclasses.field(default_factory=list)
    """When, what (``up``, ``down``, ``lost``, ``stopped``, ``runs``), and whose: a machine's
    address, a volume, or the pod of a control plane's program."""

    def note(self, what: str, whose: str) -> None:
        """Write into the diary."""
        self.diary.append((time.monotonic(), what, whose))
