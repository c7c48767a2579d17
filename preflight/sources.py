"""What the program reads beside its stack file and its state. A rehearsal has other sources."""

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
    """What the program reads beside its stack file and its state. A rehearsal has others."""

    decrypt_settings: Callable[[str, Mapping[str, str]], Mapping[str, Any]] = encrypted.opened
    """The settings that SOPS keeps encrypted."""
    list_guests: Callable[[Endpoint, Iterable[int]], list[Guest]] = list_guests
    """Every guest on Proxmox."""
    look_at_machines: Callable[[Iterable[Guest], Sequence[Node]], dict[str, MachineState]] = (
        look_at_machines
    )
    """By node: the state of its machine."""
    plan_restore: Callable[[Settings], Restore | None] = plan
    """What a new cluster is restored from."""
    read_certificates: Callable[[Settings], Mapping[str, str] | None] = (
        certificate_backup.read_certificates
    )
    """The certificates that are put back."""
    flux_health: Callable[[str], dict[str, str]] = flux_health.look
    """What Flux says of itself, for a kubeconfig."""


CURRENT: ContextVar[Sources] = ContextVar("sources", default=Sources())  # noqa: B039 (it is frozen)
"""The sources of the program that runs."""


def load_settings() -> Settings:
    """Load the settings of the program's stack, compared with what the stack runs.

    The first thing that the program does. Raises ``SettingsError`` with everything that is wrong
    with them, and ``StateError``.
    """
    _switch_off_garbage_collection()
    running = read_running_stack()
    config, stack = pulumi.runtime.get_config_env(), pulumi.get_stack()
    return joined(config, CURRENT.get().decrypt_settings(stack, config), stack, running)


def _switch_off_garbage_collection() -> None:
    """Let Python free by its reference counts alone: a run is short.

    Looking for garbage took a tenth of a preview, and another 0.2 s at the end of the process.
    """
    gc.disable()
    atexit.register(gc.freeze)


def read_certificates(settings: Settings) -> Mapping[str, str] | None:
    """Read the certificates that Traefik's volume starts with, from the backup store."""
    return CURRENT.get().read_certificates(settings)


def read_flux_health(kubeconfig: str) -> dict[str, str]:
    """Ask the cluster for the health of Flux."""
    return CURRENT.get().flux_health(kubeconfig)
