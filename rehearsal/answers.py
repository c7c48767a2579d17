"""What the providers answer: ids and computed outputs, in the wire's camelCase.

The forms are those of ``facts/providers.md``; every value is made up, and the same in every run.
A type or function that is not here is a problem, not a guess.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from rehearsal import authorities, machine_config
from rehearsal.values import Secret

Answer = tuple[str, dict[str, Any]]


class Unanswered(Exception):
    """Nobody knows what the real thing would answer."""


def _made_up(what: str) -> str:
    return base64.b64encode(f"rehearsal {what}".encode()).decode()


def _pair(what: str) -> dict[str, Any]:
    certificate, key = authorities.pair(what)
    return {"cert": certificate, "key": Secret(key)}


def _client(what: str) -> dict[str, Any]:
    return {
        "caCertificate": _made_up(f"{what} authority"),
        "clientCertificate": _made_up(f"{what} certificate"),
        "clientKey": Secret(_made_up(f"{what} key")),
    }


def _schematic(name: str, inputs: Mapping[str, Any]) -> Answer:
    return hashlib.sha256(inputs["schematic"].encode()).hexdigest(), {}


def _file(name: str, inputs: Mapping[str, Any]) -> Answer:
    volume = f"{inputs['datastoreId']}:{inputs['contentType']}/{inputs['fileName']}"
    return volume, {"size": 1_200_000_000}


def _machine(name: str, inputs: Mapping[str, Any]) -> Answer:
    devices = inputs.get("networkDevices", [])
    return str(inputs.get("vmId", 100)), {"macAddresses": [d.get("macAddress") for d in devices]}


def _secrets(name: str, inputs: Mapping[str, Any]) -> Answer:
    return "machine_secrets", {
        "clientConfiguration": _client("talos"),
        "machineSecrets": Secret(
            {
                "certs": {
                    "etcd": _pair("etcd"),
                    "k8s": _pair("kubernetes"),
                    "k8sAggregator": _pair("aggregator"),
                    "k8sServiceaccount": {"key": _made_up("service account key")},
                    "os": _pair("talos"),
                },
                "cluster": {"id": _made_up("cluster id"), "secret": _made_up("cluster secret")},
                "secrets": {
                    "bootstrapToken": _made_up("bootstrap token"),
                    "secretboxEncryptionSecret": _made_up("secretbox secret"),
                },
                "trustdinfo": {"token": _made_up("trustd token")},
            }
        ),
    }


def _kubernetes(name: str, inputs: Mapping[str, Any]) -> Answer:
    metadata = inputs.get("metadata", {})
    namespace = inputs.get("namespace") or metadata.get("namespace")
    own = metadata.get("name") or inputs.get("name") or name
    return f"{namespace}/{own}" if namespace else own, {"status": {}}


def _named(key: str) -> Callable[[str, Mapping[str, Any]], Answer]:
    return lambda name, inputs: (str(inputs.get(key, name)), {})


_RESOURCES: dict[str, Callable[[str, Mapping[str, Any]], Answer]] = {
    "talos:imageFactory/schematic:Schematic": _schematic,
    "proxmoxve:download/file:File": _file,
    "proxmoxve:index/poolLegacy:PoolLegacy": _named("poolId"),
    "proxmoxve:index/vmLegacy:VmLegacy": _machine,
    "pulumi-python:dynamic/ephemeral-castle:RetainedDisk": lambda name, inputs: (
        str(inputs["node"]),
        {"path": f"vm-{int(inputs['vm_id']) + 100_000}-disk-0"},
    ),
    "talos:machine/secrets:Secrets": _secrets,
    "talos:machine/configurationApply:ConfigurationApply": _named("node"),
    "pulumi-python:dynamic/ephemeral-castle:Bootstrap": _named("node"),
    "pulumi-python:dynamic/ephemeral-castle:EtcdSnapshot": _named("cluster"),
    "pulumi-python:dynamic/ephemeral-castle:KubernetesVersion": _named("cluster"),
    "pulumi-python:dynamic/ephemeral-castle:ClusterReadiness": _named("endpoint"),
    "pulumi-python:dynamic/ephemeral-castle:NodeLifecycle": lambda _, inputs: (
        str(inputs["node"]["name"]),
        {"generation": 1},
    ),
    "pulumi-python:dynamic/ephemeral-castle:DeploymentRecord": lambda *_: (
        "deployment-record",
        {},
    ),
    "pulumi-python:dynamic/ephemeral-castle:LonghornStorage": lambda *_: ("longhorn", {}),
    "pulumi-python:dynamic/ephemeral-castle:FluxReady": _named("part"),
    "pulumi-python:dynamic/ephemeral-castle:FluxUninstall": _named("namespace"),
}


def resource(type_: str, name: str, inputs: Mapping[str, Any]) -> Answer:
    """Id and computed outputs of a resource that was made; raises ``Unanswered``."""
    if type_.startswith("pulumi:providers:"):
        return f"{name}-provider", {}
    if type_.startswith("kubernetes:"):
        return _kubernetes(name, inputs)
    if type_ not in _RESOURCES:
        raise Unanswered(f"the rehearsal has no mock answer for resource type {type_}")
    return _RESOURCES[type_](name, inputs)


def invoke(token: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a provider's function; raises ``Unanswered``."""
    if token == "talos:machine/getConfiguration:getConfiguration":
        documents = machine_config.generate(args)
        return {"machineConfiguration": Secret(yaml.safe_dump_all(documents))}
    if token == "talos:client/getConfiguration:getConfiguration":
        return {"talosConfig": Secret(f"context: {args['clusterName']}\n")}
    raise Unanswered(f"the rehearsal has no mock answer for function {token}")
