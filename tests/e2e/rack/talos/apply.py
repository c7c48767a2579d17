"""How a machine takes up another configuration: as it runs, or by a reboot.

As siderolabs/talos v1.13.9 does: v1alpha1_server.go ApplyConfiguration, and CanApplyImmediate in
v1alpha1_runtime.go, which looks at the v1alpha1 document alone.
"""

from __future__ import annotations

import copy
import enum
from typing import Any

from .config import ConfigError, MachineConfig

_AT_ONCE = (
    *("ca", "acceptedCAs", "time", "certSANs", "install", "network", "sysfs", "sysctls"),
    *("logging", "controlPlane", "kubelet", "kernel", "registries", "pods", "seccompProfiles"),
    *("nodeAnnotations", "nodeLabels", "nodeTaints"),
)
_FEATURES_AT_ONCE = (
    *("kubernetesTalosAPIAccess", "kubePrism", "hostDNS", "imageCache"),
    "nodeAddressSortAlgorithm",
)


class Mode(enum.IntEnum):
    """ApplyConfigurationRequest.Mode."""

    REBOOT = 0
    AUTO = 1
    NO_REBOOT = 2
    STAGED = 3
    TRY = 4


SAID = {
    Mode.REBOOT: "Applied configuration with a reboot",
    Mode.NO_REBOOT: "Applied configuration without a reboot",
    Mode.STAGED: "Staged configuration to be applied after the next reboot",
}
"""What the machine says of each."""


def resolved(mode: int, current: MachineConfig | None, new: MachineConfig) -> Mode:
    """What is done in a mode; raises `ConfigError` where that cannot be.

    A machine in maintenance mode takes anything up as it runs.
    """
    at_once = current is None or _rest(current) == _rest(new)
    wanted = Mode(mode)
    if wanted is Mode.STAGED and current is not None:
        return wanted
    if (wanted is Mode.AUTO and not at_once) or (wanted is Mode.REBOOT and current is not None):
        return Mode.REBOOT
    if not at_once:
        raise ConfigError("this config change can't be applied in immediate mode\ndiff: left out")
    return Mode.NO_REBOOT


def _rest(config: MachineConfig) -> dict[str, Any]:
    """What is taken up by a reboot only."""
    document = copy.deepcopy(dict(config.main))
    for key in ("debug", "cluster"):
        document.pop(key, None)
    machine = document.get("machine") or {}
    for key in _AT_ONCE:
        machine.pop(key, None)
    features = machine.get("features") or {}
    for key in _FEATURES_AT_ONCE:
        features.pop(key, None)
    return document
