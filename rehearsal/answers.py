"""The answers of the mock providers: ids and computed outputs, with camelCase keys.

They have the form of answers of pulumi-proxmoxve 8.3.0 and pulumi-talos 0.8.1. All values are
invented and the same in every run. A rehearsal reports each request without an answer here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from lifecycle.provider import DYNAMIC, provider_of
from rehearsal import authorities, machine_config
from rehearsal.values import Secret
from settings import resource_types

Answer = tuple[str, dict[str, Any]]


class Unanswered(Exception):
    """There is no mock answer for a request."""


def _invented(name: str) -> str:
    return base64.b64encode(f"rehearsal {name}".encode()).decode()


def _authority(name: str) -> dict[str, Any]:
    certificate, key = authorities.pair(name)
    return {"cert": certificate, "key": Secret(key)}


def _client(name: str) -> dict[str, Any]:
    return {
        "caCertificate": _invented(f"{name} authority"),
        "clientCertificate": _invented(f"{name} certificate"),
        "clientKey": Secret(_invented(f"{name} key")),
    }


def _schematic(name: str, inputs: Mapping[str, Any]) -> Answer:
    return hashlib.sha256(inputs["schematic"].encode()).hexdigest(), {}


def _file(name: str, inputs: Mapping[str, Any]) -> Answer:
    volume = f"{inputs['datastoreId']}:{inputs['contentType']}/{inputs['fileName']}"
    return volume, {"size": 1_200_000_000}


def _vm(name: str, inputs: Mapping[str, Any]) -> Answer:
    devices = inputs.get("networkDevices", [])
    return str(inputs.get("vmId", 100)), {"macAddresses": [d.get("macAddress") for d in devices]}


def _secrets(name: str, inputs: Mapping[str, Any]) -> Answer:
    return "machine_secrets", {
        "clientConfiguration": _client("talos"),
        "machineSecrets": Secret(
            {
                "certs": {
                    "etcd": _authority("etcd"),
                    "k8s": _authority("kubernetes"),
                    "k8sAggregator": _authority("aggregator"),
                    "k8sServiceaccount": {"key": _invented("service account key")},
                    "os": _authority("talos"),
                },
                "cluster": {"id": _invented("cluster id"), "secret": _invented("cluster secret")},
                "secrets": {
                    "bootstrapToken": _invented("bootstrap token"),
                    "secretboxEncryptionSecret": _invented("secretbox secret"),
                },
                "trustdinfo": {"token": _invented("trustd token")},
            }
        ),
    }


def _dynamic(type_: str, inputs: Mapping[str, Any]) -> Answer:
    """The id of our own provider, and the outputs that it would learn from Proxmox."""
    outputs: dict[str, Any] = {}
    if type_ == resource_types.NODE:
        outputs = {"generation": 1}
    elif type_ == resource_types.RETAINED_DISK:
        outputs = {"path": f"vm-{int(inputs['vm_id']) + 100_000}-disk-0"}
    provider = provider_of(type_)
    return provider.id_of(provider.parse(inputs)), outputs


def _kubernetes(name: str, inputs: Mapping[str, Any]) -> Answer:
    metadata = inputs.get("metadata", {})
    namespace = inputs.get("namespace") or metadata.get("namespace")
    object_name = metadata.get("name") or inputs.get("name") or name
    return f"{namespace}/{object_name}" if namespace else object_name, {"status": {}}


def _id_from(key: str) -> Callable[[str, Mapping[str, Any]], Answer]:
    return lambda name, inputs: (str(inputs.get(key, name)), {})


_RESOURCES: dict[str, Callable[[str, Mapping[str, Any]], Answer]] = {
    resource_types.SCHEMATIC: _schematic,
    resource_types.FILE: _file,
    resource_types.MACHINE_POOL: _id_from("poolId"),
    resource_types.MACHINE: _vm,
    resource_types.SECRETS: _secrets,
    resource_types.APPLY: _id_from("node"),
}


def resource(type_: str, name: str, inputs: Mapping[str, Any]) -> Answer:
    """Return the id and the computed outputs of a new resource. Raises ``Unanswered``."""
    if type_.startswith(resource_types.ANY_PROVIDER):
        return f"{name}-provider", {}
    if type_.startswith("kubernetes:"):
        return _kubernetes(name, inputs)
    if type_.startswith(DYNAMIC):
        return _dynamic(type_, inputs)
    if type_ not in _RESOURCES:
        raise Unanswered(f"the rehearsal has no mock answer for resource type {type_}")
    return _RESOURCES[type_](name, inputs)


def invoke(token: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a provider function. Raises ``Unanswered``."""
    if token == "talos:machine/getConfiguration:getConfiguration":
        documents = machine_config.generate(args)
        return {"machineConfiguration": Secret(yaml.safe_dump_all(documents))}
    if token == "talos:client/getConfiguration:getConfiguration":
        return {"talosConfig": Secret(f"context: {args['clusterName']}\n")}
    raise Unanswered(f"the rehearsal has no mock answer for function {token}")
