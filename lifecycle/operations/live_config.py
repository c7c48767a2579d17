"""The machine config that a node runs with, read through the Talos API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from clients.talos import machine_api, protobuf
from clients.tls import context_of

_GET = "/cosi.resource.State/Get"
_CONFIG = ("config", "MachineConfigs.config.talos.dev", "v1alpha1")
"""Namespace, type and id of the machine config (siderolabs/talos v1.13.9
pkg/machinery/resources/config/machine_config.go)."""
_YAML = (1, 2, 1, 1)
"""Where its text is in the answer: resource, spec, proto_spec, yaml_marshalled (facts/providers.md
C2)."""
_IMAGES = (
    ("machine", "kubelet"),
    ("cluster", "apiServer"),
    ("cluster", "controllerManager"),
    ("cluster", "scheduler"),
    ("cluster", "proxy"),
)
"""Where a machine config names the images of Kubernetes."""


def machine_config(credentials: Mapping[str, Any], address: str) -> str:
    """The machine config of the node at ``address``, all of its documents.

    ``credentials`` are a Talos ``client_configuration``. Raises ``TalosCallError``.
    """
    question = b"".join(protobuf.field(n, part.encode()) for n, part in enumerate(_CONFIG, start=1))
    answer = machine_api.call(address, context_of(credentials), _GET, question)
    return protobuf.find(answer, *_YAML).decode()


def kubernetes_images(config: str) -> str:
    """A config patch with the images of Kubernetes that a machine config names."""
    patch: dict[str, dict[str, Any]] = {}
    for document in _main(config):
        for group, program in _IMAGES:
            image = ((document.get(group) or {}).get(program) or {}).get("image")
            if image:
                patch.setdefault(group, {})[program] = {"image": image}
    return yaml.safe_dump(patch)


def _main(config: str) -> Iterator[dict[str, Any]]:
    """The document without a kind."""
    for document in yaml.safe_load_all(config):
        if isinstance(document, dict) and "kind" not in document:
            yield document
