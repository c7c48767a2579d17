"""Waits until all nodes are ready in Kubernetes.

This resource waits for all nodes on create, and for nodes that are new or have a new generation on
update. It never blocks a preview or a destroy. The Kubernetes provider depends on it. The
kubeconfig does not pass through it, so a new node changes nothing else in a preview. The components
wait for their own pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.kubernetes.api import (
    CONTROL_PLANE,
    ClusterApi,
    KubernetesError,
    Object,
)
from clients.talos import queries
from clients.talos.errors import TalosError
from clients.tls import ClientCredentials, context_of
from clients.wait import NotYet, wait_until
from lifecycle.operations import TIME_SERVER_FIX, Progress
from lifecycle.provider import Provider, Resource
from settings.node import Node, Role

READY_TIMEOUT_S = 900
"""Seconds that a node has to join: in its first boot it pulls all images of Kubernetes."""
_THREADS = 32
"""Maximum number of nodes to wait for at the same time."""


class NotReadyError(NotYet):
    """The condition that a node does not meet yet, as part of a sentence."""


@dataclass(frozen=True, kw_only=True)
class ClusterReadinessArgs:
    """Arguments of ``ClusterReadiness``."""

    nodes: Sequence[Node]
    """All nodes of the cluster."""
    generations: Mapping[str, pulumi.Input[int]]
    """Generation of each node (``lifecycle/node.py``), by name."""
    endpoint: str
    """URL of the Kubernetes API, ``https://VIP:6443``."""
    restored: bool
    """Whether etcd was restored from a snapshot: the status of a node may then be out of date."""
    credentials: pulumi.Output[Mapping[str, str]]
    """The fields of ``ClientCredentials`` of a Kubernetes client (secret)."""
    talos_credentials: pulumi.Output[Mapping[str, str]]
    """The same of a Talos client, which reports why a node does not join (secret)."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "nodes": {
                node.name: {
                    "address": str(node.address),
                    "control_plane": node.role is Role.CONTROL_PLANE,
                    "generation": self.generations[node.name],
                }
                for node in self.nodes
            },
            "endpoint": self.endpoint,
            "restored": self.restored,
            "credentials": self.credentials,
            "talos_credentials": self.talos_credentials,
        }


@dataclass(frozen=True, kw_only=True)
class ExpectedNode:
    """A node to wait for."""

    address: str
    control_plane: bool
    generation: int


@dataclass(frozen=True, kw_only=True)
class ClusterReadinessInputs:
    """What the provider gets."""

    nodes: Mapping[str, ExpectedNode]
    """All nodes, by name."""
    endpoint: str
    restored: bool
    credentials: ClientCredentials
    talos_credentials: ClientCredentials | None = None


class ClusterReadiness(Resource[ClusterReadinessArgs]):
    """All nodes are ready, under their declared names and at their declared addresses."""


class ClusterReadinessProvider(Provider[ClusterReadinessInputs]):
    """create: wait for all nodes; update: wait for new nodes and generations; delete: nothing.

    A removed node is an update, too, so that a later node of the same name counts as new. Renewed
    credentials are no update.
    """

    name = "ClusterReadiness"
    inputs = ClusterReadinessInputs
    id_input = "endpoint"
    compared = ("nodes",)
    stored = ("nodes",)

    def on_create(self, inputs: ClusterReadinessInputs) -> None:
        """Wait for all nodes. Raises ``TimeoutError`` with the nodes that are not ready."""
        wait_until_ready(inputs, inputs.nodes)

    def on_update(
        self, olds: ClusterReadinessInputs, news: ClusterReadinessInputs, changed: Sequence[str]
    ) -> None:
        """Wait for new nodes and new generations. Raises ``TimeoutError``."""
        wait_until_ready(
            news, {name: it for name, it in news.nodes.items() if it != olds.nodes.get(name)}
        )


def wait_until_ready(
    inputs: ClusterReadinessInputs,
    nodes: Mapping[str, ExpectedNode],
    limit: float = READY_TIMEOUT_S,
) -> None:
    """Wait for all ``nodes`` in parallel, for at most ``limit`` seconds.

    Raises ``TimeoutError`` with each node that is not ready and the reason.
    """

    def wait(name: str) -> str:
        try:
            _wait_for_node(inputs, name, nodes[name], limit)
        except TimeoutError as error:
            return str(error)
        return ""

    if not nodes:
        return
    with ThreadPoolExecutor(max_workers=min(_THREADS, len(nodes))) as pool:
        failures = [failure for failure in pool.map(wait, nodes) if failure]
    if failures:
        raise TimeoutError(
            f"{' '.join(failures)} Check a node with `talosctl --nodes ADDRESS dmesg` or on the "
            "VM's console in Proxmox, then run `up` again: it continues from here."
        )


def _wait_for_node(
    inputs: ClusterReadinessInputs, name: str, expected: ExpectedNode, limit: float
) -> None:
    api = ClusterApi(inputs.endpoint, context_of(inputs.credentials))
    lease_check = LeaseCheck() if inputs.restored else None

    def check() -> None:
        check_node(_get_node(name, api), expected)
        if lease_check:
            lease_check.require_renewal(_get_renew_time(name, api))

    label = f"{name} ({expected.address})"

    def timeout_error(missing: str) -> TimeoutError:
        reason = _find_reason(inputs, expected.address)
        details = f"{missing}; {reason}" if reason else missing
        return TimeoutError(f"{label} is not ready after {limit:.0f} s: {details}.")

    progress = Progress(f"{label} is not ready", lambda _: _find_reason(inputs, expected.address))
    wait_until(check, limit, timeout_error, progress)


def _find_reason(inputs: ClusterReadinessInputs, address: str) -> str:
    """Why the kubelet of a node does not run, as Talos reports it; empty if it does not answer."""
    if inputs.talos_credentials is None:
        return ""
    try:
        services = queries.services(address, context_of(inputs.talos_credentials))
    except TalosError:
        return ""
    kubelet = services.get("kubelet")
    if kubelet is None or kubelet.is_healthy:
        return ""
    if kubelet.waits_for_time:
        return f"its clock is not synchronized; {TIME_SERVER_FIX}"
    return f"Talos reports its kubelet as {kubelet}"


def check_node(node: Object, expected: ExpectedNode) -> None:
    """Raise ``NotReadyError`` unless a ``Node`` object is ready and matches the settings."""
    status = node.get("status", {})
    addresses = {
        entry["address"]
        for entry in status.get("addresses", ())
        if entry.get("type") == "InternalIP"
    }
    if expected.address not in addresses:
        found = ", ".join(sorted(addresses)) or "no address"
        raise NotReadyError(f"in Kubernetes it has {found}, not the address in the settings")
    if expected.control_plane and CONTROL_PLANE not in node["metadata"].get("labels", {}):
        raise NotReadyError("it does not have the label of a control plane yet")
    ready = next((c for c in status.get("conditions", ()) if c.get("type") == "Ready"), None)
    if ready is None or ready.get("status") != "True":
        reason = ready.get("message") if ready else "its kubelet has not reported yet"
        raise NotReadyError(f"it is not Ready: {reason}")


class LeaseCheck:
    """Checks that a kubelet runs after a restore, when etcd may hold an old "Ready" status.

    A running kubelet renews its node's lease every ten seconds (kubernetes.io, "Leases").
    """

    def __init__(self) -> None:
        self._first: str | None = None

    def require_renewal(self, renew_time: str) -> None:
        """Raise ``NotReadyError`` while the lease has the renew time of the first call."""
        if self._first is None:
            self._first = renew_time
        if renew_time == self._first:
            raise NotReadyError("its kubelet has not renewed its lease since the restore")


def _get_renew_time(name: str, api: ClusterApi) -> str:
    """The renew time of a node's lease; empty if it has no lease yet."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    try:
        lease = api.get(path)
    except KubernetesError as error:
        raise NotReadyError(str(error)) from None
    return str(lease["spec"].get("renewTime", "")) if lease else ""


def _get_node(name: str, api: ClusterApi) -> Object:
    """The ``Node`` object. Raises ``NotReadyError`` if it is missing or the API fails."""
    try:
        node = api.get(f"/api/v1/nodes/{name}")
    except KubernetesError as error:
        raise NotReadyError(str(error)) from None
    if node is None:
        raise NotReadyError("it has not joined the cluster yet")
    return node
