"""Reads the current machine config of a node through the Talos API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from clients.talos import machine_api, protobuf
from clients.tls import ClientCredentials, context_of

_GET = "/cosi.resource.State/Get"
_CONFIG = ("config", "MachineConfigs.config.talos.dev", "v1alpha1")
"""Namespace, type and id of the machine config (siderolabs/talos v1.13.9
pkg/machinery/resources/config/machine_config.go)."""
_YAML = (1, 2, 1, 1)
"""Field numbers that lead to the YAML text in the answer: resource, spec, proto_spec,
yaml_marshalled (cosi-project/specification api/v1alpha1)."""
_IMAGES = (
    ("machine", "kubelet"),
    ("cluster", "apiServer"),
    ("cluster", "controllerManager"),
    ("cluster", "scheduler"),
    ("cluster", "proxy"),
)
"""Group and key of the settings in a machine config that name a Kubernetes image."""


def machine_config(credentials: ClientCredentials, address: str) -> str:
    """The complete machine config (YAML, all documents) of the node at ``address``.

    ``credentials`` are a Talos client. Raises ``TalosCallError``.
    """
    request = b"".join(protobuf.field(n, part.encode()) for n, part in enumerate(_CONFIG, start=1))
    answer = machine_api.call(address, context_of(credentials), _GET, request)
    return protobuf.find(answer, *_YAML).decode()


def kubernetes_images(config: str) -> str:
    """A config patch (YAML) with the Kubernetes images that a machine config names."""
    patch: dict[str, dict[str, Any]] = {}
    for document in _main_documents(config):
        for group, component in _IMAGES:
            image = ((document.get(group) or {}).get(component) or {}).get("image")
            if image:
                patch.setdefault(group, {})[component] = {"image": image}
    return yaml.safe_dump(patch)


def _main_documents(config: str) -> Iterator[dict[str, Any]]:
    """The documents without a ``kind``: those with ``machine`` and ``cluster``."""
    for document in yaml.safe_load_all(config):
        if isinstance(document, dict) and "kind" not in document:
            yield document
