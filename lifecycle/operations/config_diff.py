"""Predicts what a new machine config does to its node: nothing, a restart of components, a reboot.

The prediction compares only the config texts, for a preview. During ``up`` a dry run of Talos
decides (``config_rollout.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml


def _split(text: str) -> frozenset[str]:
    return frozenset(text.split())


AT_ONCE = _split(
    "acceptedCAs ca certSANs controlPlane install kernel kubelet logging network nodeAnnotations "
    "nodeLabels nodeTaints pods registries seccompProfiles sysctls sysfs time"
)
"""Keys of ``machine`` that Talos applies without a reboot. It also applies all of ``cluster``, and
every document with a ``kind``, without a reboot (siderolabs/talos v1.12.0 and v1.13.9,
v1alpha1_runtime.go CanApplyImmediate)."""
FEATURES_AT_ONCE = _split(
    "hostDNS imageCache kubePrism kubernetesTalosAPIAccess nodeAddressSortAlgorithm"
)
"""Keys of ``machine.features`` that Talos applies without a reboot (same source)."""
COMPONENTS = {
    "apiServer": "kube-apiserver",
    "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}
"""The control plane component that restarts if this key of ``cluster`` changes."""


def takes_down(olds: Sequence[str], news: Sequence[str], *, control_plane: bool) -> bool:
    """Whether the change reboots the node or restarts a control plane component on it.

    ``olds`` and ``news`` are YAML texts: config patches, or complete configs.
    """
    return needs_reboot(olds, news) or bool(restarted(olds, news, control_plane=control_plane))


def needs_reboot(olds: Sequence[str], news: Sequence[str]) -> bool:
    """Whether Talos applies the change only with a reboot."""
    return _differs(olds, news, _reboot_part)


def restarted(olds: Sequence[str], news: Sequence[str], *, control_plane: bool) -> list[str]:
    """The control plane components that restart; empty for a worker."""
    if not control_plane:
        return []
    return [
        component
        for key, component in COMPONENTS.items()
        if _differs(olds, news, lambda document, key=key: _component_part(document, key))
    ]


def _differs(olds: Sequence[str], news: Sequence[str], extract: Any) -> bool:
    """Whether the parts that ``extract`` returns differ between old and new config."""
    sides = [
        [part for text in texts for it in main_documents(text) if (part := extract(it))]
        for texts in (olds, news)
    ]
    return sides[0] != sides[1]


def main_documents(text: str) -> Iterator[dict[str, Any]]:
    """The documents without a ``kind``: those with ``machine`` and ``cluster``. Only these can need
    a reboot."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and "kind" not in document:
            yield document


def _reboot_part(document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config document that Talos applies only with a reboot."""
    machine = _group(document, "machine")
    part = {key: value for key, value in machine.items() if key not in AT_ONCE | {"features"}}
    features = {
        key: value
        for key, value in _group(machine, "features").items()
        if key not in FEATURES_AT_ONCE
    }
    return part | ({"features": features} if features else {})


def _component_part(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The config of a component without its image, which only a Kubernetes upgrade changes."""
    component = _group(_group(document, "cluster"), key)
    return {name: value for name, value in component.items() if name != "image"}


def _group(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}
