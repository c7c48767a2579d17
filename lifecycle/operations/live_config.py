"""Reads the current machine config of a node through the Talos API."""

from __future__ import annotations

from clients.talos import machine_api, protobuf
from clients.tls import ClientCredentials, context_of

_GET = "/cosi.resource.State/Get"
_CONFIG = ("config", "MachineConfigs.config.talos.dev", "v1alpha1")
"""Namespace, type and id of the machine config (siderolabs/talos v1.13.9
pkg/machinery/resources/config/machine_config.go)."""
_YAML = (1, 2, 1, 1)
"""Field numbers that lead to the YAML text in the answer: resource, spec, proto_spec,
yaml_marshalled (cosi-project/specification api/v1alpha1)."""


def machine_config(credentials: ClientCredentials, address: str) -> str:
    """The complete machine config (YAML, all documents) of the node at ``address``.

    ``credentials`` are a Talos client. Raises ``TalosError``.
    """
    request = b"".join(protobuf.field(n, part.encode()) for n, part in enumerate(_CONFIG, start=1))
    answer = machine_api.call(address, context_of(credentials), _GET, request)
    return protobuf.find(answer, *_YAML).decode()
