"""The parts of a machine config that a machine reads."""

from __future__ import annotations

import base64
import dataclasses
import functools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ..certificates import KeyPair

CONTROL_PLANE = "controlplane"
WORKER = "worker"


_DEFAULT_KUBERNETES = "v1.36.3"
_DEFAULT_IMAGES = {
    "kubelet": f"ghcr.io/siderolabs/kubelet:{_DEFAULT_KUBERNETES}",
    **{
        name: f"registry.k8s.io/{name}:{_DEFAULT_KUBERNETES}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
}
"""What Talos runs if the configuration names no image (siderolabs/talos v1.13.9
pkg/machinery/constants/constants.go)."""
_STATIC_PODS = {
    "kube-apiserver": "apiServer",
    "kube-controller-manager": "controllerManager",
    "kube-scheduler": "scheduler",
}


class ConfigError(ValueError):
    """The machine refuses the configuration; the text says why."""


@dataclasses.dataclass(frozen=True)
class UserVolume:
    """A ``UserVolumeConfig`` document."""

    name: str
    selector: str
    grows: bool = False
    """Whether its partition takes up a larger disk, at the next boot; by default it does not."""


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """A configuration: the unnamed v1alpha1 document and any number of others."""

    data: bytes
    documents: tuple[Mapping[str, Any], ...]

    @classmethod
    def parse(cls, data: bytes) -> MachineConfig:
        """Read the bytes that the provider sends; they may hold several documents."""
        try:
            documents = tuple(filter(None, yaml.safe_load_all(data)))
        except yaml.YAMLError as error:
            raise ConfigError(f"failed to parse config: {error}") from None
        if not all(isinstance(document, dict) for document in documents):
            raise ConfigError("failed to parse config: a document is not a mapping")
        config = cls(data, documents)
        config.require_basics()
        return config

    def require_basics(self) -> None:
        """Fail unless there is what a machine cannot do without."""
        if "machine" not in self.main:
            raise ConfigError("machine instructions are required")
        if self.type not in {CONTROL_PLANE, WORKER}:
            raise ConfigError(f"unknown machine type {self.type!r}")
        if not self.machine_ca.certificate:
            raise ConfigError("issuing CA is required (.machine.ca)")
        if self.is_control_plane and not (self.machine_ca.key and self.cluster_ca.key):
            raise ConfigError(
                "issuing CA keys are required for controlplane nodes (.machine.ca, .cluster.ca)"
            )

    @functools.cached_property
    def main(self) -> Mapping[str, Any]:
        """The v1alpha1 document, the one without a kind."""
        return next((d for d in self.documents if "kind" not in d), {})

    def of_kind(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """Yield the other documents of one kind."""
        return (d for d in self.documents if d.get("kind") == kind)

    def shares_authority_with(self, other: MachineConfig) -> bool:
        """Tell whether both machines are of one cluster."""
        return self.machine_ca.certificate == other.machine_ca.certificate

    def get(self, *path: str) -> Any:
        """Look a value up in the v1alpha1 document; None where the path ends early."""
        value: Any = self.main
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def type(self) -> str:
        """``controlplane`` or ``worker``."""
        return str(self.get("machine", "type"))

    @property
    def is_control_plane(self) -> bool:
        """Whether the machine runs etcd and the Kubernetes API."""
        return self.type == CONTROL_PLANE

    @property
    def hostname(self) -> str:
        """The static hostname, from its own document or from the old place."""
        for document in self.of_kind("HostnameConfig"):
            if hostname := document.get("hostname"):
                return str(hostname)
        return str(self.get("machine", "network", "hostname") or "")

    @property
    def machine_ca(self) -> KeyPair:
        """The authority of the Talos API; a worker has no key."""
        return self._key_pair("machine", "ca")

    @property
    def cluster_ca(self) -> KeyPair:
        """The authority of the Kubernetes API; a worker has no key."""
        return self._key_pair("cluster", "ca")

    @property
    def service_account_key(self) -> bytes:
        """The key that signs the tokens of service accounts; a worker has none."""
        return base64.b64decode(self.get("cluster", "serviceAccount", "key") or "")

    @property
    def cluster_name(self) -> str:
        """The name of the cluster."""
        return str(self.get("cluster", "clusterName") or "")

    @property
    def endpoint(self) -> str:
        """The URL of the Kubernetes API."""
        return str(self.get("cluster", "controlPlane", "endpoint") or "")

    @property
    def vips(self) -> list[str]:
        """Shared addresses, from either kind of configuration."""
        interfaces = self.get("machine", "network", "interfaces") or []
        addresses = [(i.get("vip") or {}).get("ip") for i in interfaces]
        addresses += [vlan.get("vip", {}).get("ip") for i in interfaces for vlan in _vlans(i)]
        addresses += [document.get("name") for document in self.of_kind("Layer2VIPConfig")]
        return [str(address) for address in addresses if address]

    @property
    def addresses(self) -> list[str]:
        """Static addresses without their prefix lengths, if the configuration has any."""
        interfaces = self.get("machine", "network", "interfaces") or []
        addresses = [a for i in interfaces for a in i.get("addresses") or []]
        for document in self.of_kind("LinkConfig"):
            addresses += [a.get("address", "") for a in document.get("addresses") or []]
        return [str(address).partition("/")[0] for address in addresses]

    @property
    def images(self) -> dict[str, str]:
        """The images of Kubernetes' own programs, by their names; a worker has the kubelet's."""
        found = {"kubelet": self.get("machine", "kubelet", "image")}
        if self.is_control_plane:
            found |= {name: self.get("cluster", key, "image") for name, key in _STATIC_PODS.items()}
        return {name: str(image or _DEFAULT_IMAGES[name]) for name, image in found.items()}

    def version_of(self, program: str) -> str:
        """A number for what one of Kubernetes' programs is told: another one for each config."""
        section = yaml.safe_dump(self.get("cluster", _STATIC_PODS[program]))
        return str(zlib.crc32(section.encode()) % 1_000_000 + 1)

    @property
    def user_volumes(self) -> list[UserVolume]:
        """The volumes on data disks."""
        volumes = []
        for document in self.of_kind("UserVolumeConfig"):
            provisioning = document.get("provisioning") or {}
            volumes.append(
                UserVolume(
                    name=str(document.get("name")),
                    selector=str((provisioning.get("diskSelector") or {}).get("match", "")),
                    grows=bool(provisioning.get("grow")),
                )
            )
        return volumes

    def _key_pair(self, *path: str) -> KeyPair:
        pair = self.get(*path) or {}
        try:
            return KeyPair(
                base64.b64decode(pair.get("crt") or "", validate=True),
                base64.b64decode(pair.get("key") or "", validate=True),
            )
        except ValueError as error:
            raise ConfigError(f"{'.'.join(path)}: {error}") from None


def _vlans(interface: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return interface.get("vlans") or []
