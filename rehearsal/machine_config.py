"""Generates the Talos machine configs that the mock provider returns, and merges patches into them.

This is not Talos' generator: the configs have no secrets and few defaults. ``talosctl validate``
checks the real configs (``docs/verification.md``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

Document = dict[str, Any]


def generate(args: Mapping[str, Any]) -> list[Document]:
    """Return the documents of the provider's ``getConfiguration`` for its arguments."""
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
    # Talos 1.12 and later generate this document.
    hostname: Document = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "stable"}
    return patch([main, hostname], args.get("configPatches") or ())


def patch(documents: Iterable[Document], patches: Iterable[str]) -> list[Document]:
    """Apply strategic merge patches. Documents of the same kind and name are merged."""
    result = {_key(document): document for document in documents}
    for text in patches:
        for change in yaml.safe_load_all(text):
            key = _key(change)
            result[key] = _merge(result[key], change) if key in result else change
    return list(result.values())


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
