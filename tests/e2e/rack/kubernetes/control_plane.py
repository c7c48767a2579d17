"""The programs of one cluster's control plane: their files, their flags and their order.

Everything listens on the host of the cluster's endpoint, which is a loopback address; nothing
else is ever dialled, and the addresses of Services are loopback too.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..certificates import CertificateAuthority
from ..talos.config import MachineConfig
from ..talos.kubeconfig import admin_certificate, kubeconfig
from .client import KubernetesClient
from .containers import Containers
from .kubelet_ports import KubeletPorts
from .kubelets import LABEL, RUNNING
from .process import Process
from .programs import Programs

_POD_CIDR = "10.244.0.0/16"  # never dialled; endpoints may not have loopback addresses
_KWOK_PORT = 10247
_STAGES = Path(__file__).with_name("stages.yaml")
_START_TIMEOUT = 60
_POLL = 0.2
_CLIENTS = ("kube-controller-manager", "kube-scheduler")


class ControlPlaneError(Exception):
    """A program did not come up; the text says which, and ends with what it wrote last."""


class ControlPlane:
    """A running control plane."""

    def __init__(
        self,
        programs: Programs,
        config: MachineConfig,
        directory: Path,
        snapshot: bytes = b"",
        *,
        toleration_s: int,
    ) -> None:
        """``snapshot`` is what etcd begins with; empty for nothing. ``toleration_s`` is how long
        pods stay on a node that is not ready."""
        url = urllib.parse.urlsplit(config.endpoint)
        self._client: KubernetesClient | None = None
        self._programs = programs
        self._config = config
        self._directory = directory
        self._snapshot = snapshot
        self._toleration_s = toleration_s
        self.host = str(url.hostname)
        """The address of the cluster's endpoint."""
        self._port = url.port or 443
        self._processes: dict[str, Process] = {}
        self.containers = Containers(directory)
        """What containers do with volumes."""
        self.kubelets = KubeletPorts(self.host, _KWOK_PORT)
        """Where the API server finds the kubelets."""

    @property
    def client(self) -> KubernetesClient:
        """An administrator's client."""
        if self._client is None:
            self._client = KubernetesClient(
                self._config.endpoint, self._path("ca.crt"), self._path("admin.pem")
            )
        return self._client

    def check(self) -> None:
        """Fail if a program has ended by itself."""
        for name, process in self._processes.items():
            if process.ended:
                lines = process.log.read_text(errors="replace").splitlines()
                raise ControlPlaneError(f"{name} ended: {lines[-1] if lines else 'no output'}")

    async def start(self) -> None:
        """Start all programs, each when it can reach the one before it."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._write_files()
        if self._snapshot and not self._path("etcd").exists():
            await self._restore()
        await self._run("etcd", self._programs.etcd, self._etcd())
        await self._run("kube-apiserver", self._programs.kube_apiserver, self._apiserver())
        await self._wait_until_ready()
        manager = self._programs.kube_controller_manager
        await self._run("kube-controller-manager", manager, self._controller_manager())
        await self._run("kube-scheduler", self._programs.kube_scheduler, self._scheduler())
        self._write("kwok.yaml", _STAGES.read_bytes() + self._executions())
        environment = {"PATH": str(self.containers.programs)}
        await self._run("kwok", self._programs.kwok, self._kwok(), environment)

    async def stop(self) -> None:
        """Stop all programs, last first: an API server without etcd hangs for minutes."""
        await self.kubelets.stop()
        if self._client:
            await self._client.aclose()
        for process in reversed(self._processes.values()):
            await process.stop()
        self._processes.clear()

    def erase(self) -> None:
        """Forget etcd's data and all else."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _executions(self) -> bytes:
        return b"".join(b"---\n" + json.dumps(it).encode() for it in self.containers.write())

    async def _run(
        self,
        name: str,
        program: str,
        flags: Mapping[str, object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        arguments = [f"--{flag}={value}" for flag, value in flags.items()]
        log = self._directory / f"{name}.log"
        self._processes[name] = await Process.start(program, arguments, log, environment)

    async def _restore(self) -> None:
        """Make etcd's data of the snapshot, as Talos does with the same library."""
        if self._programs.etcdutl is None:
            raise ControlPlaneError("etcdutl is not there, which restores a snapshot")
        self._write("snapshot.db", self._snapshot)
        peers = self._etcd()
        flags = {
            "data-dir": peers["data-dir"],
            "name": "default",
            "initial-cluster": peers["initial-cluster"],
            "initial-advertise-peer-urls": peers["initial-advertise-peer-urls"],
        }
        arguments = [f"--{flag}={value}" for flag, value in flags.items()]
        arguments = ["snapshot", "restore", str(self._path("snapshot.db")), *arguments]
        log = self._path("etcdutl.log")
        process = await Process.start(self._programs.etcdutl, arguments, log)
        async with asyncio.timeout(_START_TIMEOUT):
            await process.end()
        self._path("snapshot.db").unlink()
        if not self._path("etcd").exists():
            raise ControlPlaneError(f"etcdutl: {log.read_text(errors='replace')}")

    async def _wait_until_ready(self) -> None:
        async with asyncio.timeout(_START_TIMEOUT):
            while not await self.client.is_ready():
                self.check()
                await asyncio.sleep(_POLL)

    def _etcd(self) -> Mapping[str, object]:
        clients, peers = f"http://{self.host}:2379", f"http://{self.host}:2380"
        return {
            "data-dir": self._directory / "etcd",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _apiserver(self) -> Mapping[str, object]:
        return {
            "advertise-address": self.host,
            "bind-address": self.host,
            "secure-port": self._port,
            "etcd-servers": f"http://{self.host}:2379",
            "cert-dir": self._directory,
            "tls-cert-file": self._path("apiserver.crt"),
            "tls-private-key-file": self._path("apiserver.key"),
            "client-ca-file": self._path("ca.crt"),
            "service-account-issuer": self._config.endpoint,
            "service-account-key-file": self._path("service-account.key"),
            "service-account-signing-key-file": self._path("service-account.key"),
            "service-cluster-ip-range": f"{_service_network(self.host)}.0.0/16",
            "admission-control-config-file": self._path("admission.json"),
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "endpoint-reconciler-type": "none",
            "encryption-provider-config": self._path("encryption.json"),
            # Their names are known to nobody.
            "kubelet-preferred-address-types": "InternalIP",
            "shutdown-delay-duration": "0s",
            "default-not-ready-toleration-seconds": self._toleration_s,
            "default-unreachable-toleration-seconds": self._toleration_s,
        }

    def _controller_manager(self) -> Mapping[str, object]:
        return {
            "kubeconfig": self._path("kube-controller-manager.conf"),
            "bind-address": self.host,
            "leader-elect": "false",
            "cluster-signing-cert-file": self._path("ca.crt"),
            "cluster-signing-key-file": self._path("ca.key"),
            "root-ca-file": self._path("ca.crt"),
            "service-account-private-key-file": self._path("service-account.key"),
            "use-service-account-credentials": "true",
            # No kubelet reports here. Without this flag all nodes become unready after minutes.
            "node-monitor-grace-period": "100h",
        }

    def _scheduler(self) -> Mapping[str, object]:
        return {
            "kubeconfig": self._path("kube-scheduler.conf"),
            "bind-address": self.host,
            "leader-elect": "false",
        }

    def _kwok(self) -> Mapping[str, object]:
        return {
            "kubeconfig": self._path("admin.conf"),
            "config": self._path("kwok.yaml"),
            "cidr": _POD_CIDR,
            "manage-nodes-with-label-selector": f"{LABEL}={RUNNING}",
            "server-address": f"{self.host}:{_KWOK_PORT}",
        }

    def _write_files(self) -> None:
        pair = self._config.cluster_ca
        authority = CertificateAuthority.load(pair.certificate, pair.key)
        self._write("ca.crt", pair.certificate)
        self._write("ca.key", pair.key)
        self._write("service-account.key", self._config.service_account_key)
        self._write("admission.json", json.dumps(self._admission()).encode())
        self._write("encryption.json", json.dumps(self._encryption()).encode())
        names = _server_names(self.host)
        server = authority.issue("kube-apiserver", hosts=names)
        self._write("apiserver.crt", server.certificate)
        self._write("apiserver.key", server.key)
        admin = admin_certificate(self._config)
        self._write("admin.pem", admin.certificate + admin.key)
        self._write("admin.conf", kubeconfig(self._config, admin).encode())
        for name in _CLIENTS:
            client = authority.issue(f"system:{name}")
            self._write(f"{name}.conf", kubeconfig(self._config, client, name).encode())

    def _admission(self) -> Mapping[str, object]:
        """Return the admission plugins of the machine configuration: Pod Security, baseline."""
        plugins = self._config.get("cluster", "apiServer", "admissionControl") or []
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": plugins,
        }

    def _encryption(self) -> Mapping[str, object]:
        """Return how Secrets lie in etcd: encrypted with the cluster's own key, as Talos has it."""
        providers: list[dict[str, object]] = [{"identity": {}}]
        if secret := self._config.get("cluster", "secretboxEncryptionSecret"):
            providers.insert(0, {"secretbox": {"keys": [{"name": "key2", "secret": secret}]}})
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        }

    def _path(self, name: str) -> Path:
        return self._directory / name

    def _write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        path.touch(mode=0o600)
        path.write_bytes(data)


def _server_names(host: str) -> Sequence[str]:
    service = ["kubernetes", "default", "svc", "cluster", "local"]
    names = [".".join(service[:length]) for length in range(1, len(service) + 1)]
    return [host, f"{_service_network(host)}.0.1", "localhost", *names]


def _service_network(host: str) -> str:
    """Loopback addresses for Services, so that what the API server dials stays on the machine.

    Others for each third octet of the cluster's address: racks side by side must not meet.
    """
    return f"127.{96 + int(host.split('.')[2]) % 128}"
