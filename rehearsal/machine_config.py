"""Talos machine configs, as far as the rules look at them: generated, and patched.

Not Talos' generator: secrets and defaults that no rule reads are left out. `talosctl validate`
judges the real ones (``docs/verification.md``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

Document = dict[str, Any]

LONGHORN_VOLUME = "longhorn"
"""Name of the user volume on the data disk."""


def generate(args: Mapping[str, Any]) -> list[Document]:
    """The documents that the talos provider's ``getConfiguration`` would make of its arguments."""
    control_plane = args["machineType"] == "controlplane"
    main: Document = {
        "version": "v1alpha1",
        "machine": {
            "type": args["machineType"],
            "network": {},
            "install": {"disk": "/dev/sda"},
            "kubelet": {"image": f"ghcr.io/siderolabs/kubelet:{args.get('kubernetesVersion', '')}"},
        },
        "cluster": {
            "clusterName": args["clusterName"],
            "controlPlane": {"endpoint": args["clusterEndpoint"]},
        },
    }
    if control_plane:
        label = "node.kubernetes.io/exclude-from-external-load-balancers"
        main["machine"]["nodeLabels"] = {label: ""}
    # Talos 1.12 and later generate this document themselves (facts/end-to-end.md 1-4).
    hostname: Document = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "stable"}
    return patch([main, hostname], args.get("configPatches") or ())


def patch(documents: Iterable[Document], patches: Iterable[str]) -> list[Document]:
    """The documents with strategic merge patches applied: merged by kind and name."""
    result = {_key(document): document for document in documents}
    for text in patches:
        for change in yaml.safe_load_all(text):
            key = _key(change)
            result[key] = _merge(result[key], change) if key in result else change
    return list(result.values())


@functools.lru_cache(maxsize=16)  # one for each role, however many nodes
def load(text: str) -> tuple[Document, ...]:
    """The documents of a machine config. Not to be changed: they are shared."""
    return tuple(document for document in yaml.safe_load_all(text) if document)


def main(documents: Iterable[Document]) -> Document:
    """The v1alpha1 document: ``machine`` and ``cluster``."""
    return next((document for document in documents if "kind" not in document), {})


def of_kind(documents: Iterable[Document], kind: str) -> list[Document]:
    """The documents of a kind."""
    return [document for document in documents if document.get("kind") == kind]


def user_volumes(documents: Iterable[Document]) -> tuple[list[Document], list[Document]]:
    """Longhorn's user volume, if there is one, and those that patches add."""
    volumes = of_kind(documents, "UserVolumeConfig")
    own = [volume for volume in volumes if volume.get("name") == LONGHORN_VOLUME]
    return own, [volume for volume in volumes if volume not in own]


def _key(document: Document) -> tuple[str, str]:
    return document.get("kind", ""), document.get("name", "")


def _merge(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        merged = dict(old)
        for key, value in new.items():
            merged[key] = _merge(old[key], value) if key in old else value
        return merged
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new]
    return new
