"""What the program reads besides its stack file and the Pulumi state."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.kubernetes import flux_health
from clients.proxmox.guests import Guest, list_guests
from components.traefik import certificate_backup
from lifecycle.node import MachineState
from lifecycle.restore import Restore, plan
from preflight.machine_states import look_at_machines
from preflight.state import read_running_stack
from settings import encrypted
from settings.groups import Endpoint
from settings.load import joined
from settings.models import Settings
from settings.node import Node


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Functions that read from Proxmox, the nodes, files and the cluster.

    A rehearsal replaces them by functions that need no network.
    """

    read_config: Callable[[], Mapping[str, str]] = pulumi.runtime.get_config_env
    """Reads the configuration of the stack, which the Pulumi CLI decrypts."""
    decrypt_settings: Callable[[str, Mapping[str, str]], Mapping[str, Any]] = encrypted.opened
    """Decrypts ``Pulumi.NAME.sops.yaml`` of a stack, given its name and configuration."""
    list_guests: Callable[[Endpoint, Iterable[int]], list[Guest]] = list_guests
    """Lists all guests on Proxmox; also checks single VM ids that the token cannot see."""
    look_at_machines: Callable[[Iterable[Guest], Sequence[Node]], dict[str, MachineState]] = (
        look_at_machines
    )
    """Returns the state of each node's VM, by node name."""
    plan_restore: Callable[[Settings], Restore | None] = plan
    """Reads the snapshot from which a new cluster is restored, if any."""
    read_certificates: Callable[[Settings], Mapping[str, str] | None] = (
        certificate_backup.read_certificates
    )
    """Reads the backup of the certificates, which Traefik's volume starts with."""
    flux_health: Callable[[str], dict[str, str]] = flux_health.look
    """Reads the health of Flux from the cluster of a kubeconfig."""


CURRENT: ContextVar[Sources] = ContextVar("sources", default=Sources())  # noqa: B039 (it is frozen)
"""The sources of the running program."""


def load_settings() -> Settings:
    """Load the settings of the program's stack, and check them against the running stack.

    Raises ``SettingsError`` with all problems, and ``StateError`` if the state cannot be read.
    """
    _switch_off_garbage_collection()
    running = read_running_stack()
    sources, stack = CURRENT.get(), pulumi.get_stack()
    config = sources.read_config()
    return joined(config, sources.decrypt_settings(stack, config), stack, running)


def _switch_off_garbage_collection() -> None:
    """Free memory by reference counts only, which suffices for a short run.

    Garbage collection took a tenth of a preview, and another 0.2 s at the end of the process.
    """
    gc.disable()
    atexit.register(gc.freeze)


def read_certificates(settings: Settings) -> Mapping[str, str] | None:
    """Read the certificates for Traefik's new volume from the backup store."""
    return CURRENT.get().read_certificates(settings)


def read_flux_health(kubeconfig: str) -> dict[str, str]:
    """Read the health of Flux from the cluster."""
    return CURRENT.get().flux_health(kubeconfig)
