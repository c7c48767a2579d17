"""What a change of a machine config does to its node: nothing, a restart of programs, a reboot.

It is told from the texts alone, for a preview; what is done in the end, Talos says itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AT_ONCE = _words(
    "acceptedCAs ca certSANs controlPlane install kernel kubelet logging network nodeAnnotations "
    "nodeLabels nodeTaints pods registries seccompProfiles sysctls sysfs time"
)
"""Keys of ``machine`` that Talos takes up as it runs, as it does all of ``cluster`` and every
document with a kind (siderolabs/talos v1.12.0 and v1.13.9, v1alpha1_runtime.go CanApplyImmediate).
"""
FEATURES_AT_ONCE = _words(
    "hostDNS imageCache kubePrism kubernetesTalosAPIAccess nodeAddressSortAlgorithm"
)
"""Keys of ``machine.features`` of which the same is true."""
PROGRAMS = {
    "apiServer": "kube-apiserver",
    "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}
"""Keys of ``cluster`` by the program of a control plane that they restart."""


def takes_down(olds: Sequence[str], news: Sequence[str], *, control_plane: bool) -> bool:
    """Whether a node, or a program of Kubernetes on it, goes down for a change of its config.

    Both sides are texts: patches, or whole configs.
    """
    return needs_reboot(olds, news) or bool(restarted(olds, news, control_plane=control_plane))


def needs_reboot(olds: Sequence[str], news: Sequence[str]) -> bool:
    """Whether Talos takes the change up by a reboot only."""
    return _parts(olds, news, _of_a_boot)


def restarted(olds: Sequence[str], news: Sequence[str], *, control_plane: bool) -> list[str]:
    """The programs of Kubernetes on a control plane that restart; a worker has none."""
    if not control_plane:
        return []
    return [
        program
        for key, program in PROGRAMS.items()
        if _parts(olds, news, lambda document, key=key: _of_a_program(document, key))
    ]


def _parts(olds: Sequence[str], news: Sequence[str], part: Any) -> bool:
    """Whether a part of the config differs."""
    sides = [
        [found for text in texts for it in _documents(text) if (found := part(it))]
        for texts in (olds, news)
    ]
    return sides[0] != sides[1]


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The documents without a kind: only of these there are parts that need a boot."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and "kind" not in document:
            yield document


def _of_a_boot(document: Mapping[str, Any]) -> dict[str, Any]:
    machine = _group(document, "machine")
    part = {key: value for key, value in machine.items() if key not in AT_ONCE | {"features"}}
    features = {
        key: value
        for key, value in _group(machine, "features").items()
        if key not in FEATURES_AT_ONCE
    }
    return part | ({"features": features} if features else {})


def _of_a_program(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Without the image: another one comes by an upgrade of Kubernetes, which is a thing apart."""
    program = _group(_group(document, "cluster"), key)
    return {name: value for name, value in program.items() if name != "image"}


def _group(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}
