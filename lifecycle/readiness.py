"""The cluster's readiness: a resource that exists once all nodes are ready in Kubernetes.

It waits for all nodes when it is created, and later for nodes that are new or have a new
generation. It never blocks a preview, a repair or a destroy. What needs the cluster depends on it
through the Kubernetes provider; the kubeconfig does not pass through it, so that nothing in the
cluster shows as changed if a node is added.

Leaves out what runs on the nodes: the components wait for that themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import dynamic

from clients.kubernetes import control_plane
from clients.kubernetes.api import ApiError, ClusterApi
from clients.tls import context_of
from clients.wait import NotYet, wait_until
from lifecycle.provider import MODULE, Provider
from settings.node import Node, Role

READY_TIMEOUT_S = 900
"""Seconds that a node has to join: a first boot pulls all images of Kubernetes."""
_THREADS = 32
"""Nodes that are asked at the same time."""


class NotReadyError(NotYet):
    """What a node still lacks, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class ClusterReadinessArgs:
    """Which nodes to wait for."""

    nodes: Sequence[Node]
    """All nodes of the cluster."""
    generations: Mapping[str, pulumi.Input[int]]
    """By node name: its generation (``lifecycle/node.py``)."""
    endpoint: str
    """The Kubernetes API, ``https://VIP:6443``."""
    restored: bool
    """Whether etcd was restored: what it says of a node may then be out of date."""
    credentials: pulumi.Output[Mapping[str, str]]
    """A client of Kubernetes, with the three ``mutual_tls.CREDENTIALS`` (secret)."""


class ClusterReadiness(dynamic.Resource, module=MODULE, name="ClusterReadiness"):
    """All nodes are ready, under their declared names and at their declared addresses."""

    def __init__(self, name: str, args: ClusterReadinessArgs, opts: pulumi.ResourceOptions) -> None:
        """Wait for the nodes."""
        super().__init__(
            ClusterReadinessProvider(),
            name,
            {
                "nodes": {
                    node.name: {
                        "address": str(node.address),
                        "control_plane": node.role is Role.CONTROL_PLANE,
                        "generation": args.generations[node.name],
                    }
                    for node in args.nodes
                },
                "endpoint": args.endpoint,
                "restored": args.restored,
                "credentials": args.credentials,
            },
            opts,
        )


class ClusterReadinessProvider(Provider):
    """Waits for all nodes on create, and for new ones and new generations on update.

    A node that goes is a change, too: if it comes back it must be new here. Renewed credentials are
    not a change.
    """

    name = "ClusterReadiness"
    id_input = "endpoint"
    compared = ("nodes",)
    kept = ("nodes",)

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait for all nodes; raises ``TimeoutError`` that names those that are not ready."""
        wait_until_ready(props, props["nodes"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Wait for new nodes and new generations."""
        before = olds["nodes"]
        wait_until_ready(
            news, {name: it for name, it in news["nodes"].items() if it != before.get(name)}
        )


def wait_until_ready(
    props: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]], limit: float = READY_TIMEOUT_S
) -> None:
    """Wait for nodes, for all at the same time and for at most ``limit`` seconds.

    Raises ``TimeoutError`` with each node that is not ready, and what it lacks.
    """

    def wait(name: str) -> str:
        try:
            _wait_for_node(props, {**nodes[name], "node": name}, limit)
        except TimeoutError as error:
            return str(error)
        return ""

    if not nodes:
        return
    with ThreadPoolExecutor(max_workers=min(_THREADS, len(nodes))) as pool:
        failures = [failure for failure in pool.map(wait, nodes) if failure]
    if failures:
        raise TimeoutError(
            f"{' '.join(failures)} Look at a node with `talosctl --nodes ADDRESS dmesg` or on its "
            "console in Proxmox, then run `up` again: it continues from here."
        )


def _wait_for_node(props: Mapping[str, Any], expected: Mapping[str, Any], limit: float) -> None:
    api = ClusterApi(props["endpoint"], context_of(props["credentials"]))
    pulse = Pulse() if props.get("restored") else None

    def look() -> None:
        node = _get(expected, api)
        check_node(node, expected)
        if pulse:
            pulse.require(_renewal(expected, api))

    def told(missing: str) -> TimeoutError:
        who = f"{expected['node']} ({expected['address']})"
        return TimeoutError(f"{who} is not ready after {limit:.0f} s: {missing}.")

    wait_until(look, limit, told)


def check_node(node: Mapping[str, Any], props: Mapping[str, Any]) -> None:
    """Raise ``NotReadyError`` unless a Kubernetes ``Node`` is the declared one, and ready."""
    status = node.get("status", {})
    addresses = {
        entry["address"]
        for entry in status.get("addresses", ())
        if entry.get("type") == "InternalIP"
    }
    if props["address"] not in addresses:
        found = ", ".join(sorted(addresses)) or "no address"
        raise NotReadyError(f"Kubernetes knows it at {found}, not at its declared address")
    if props["control_plane"] and control_plane.LABEL not in node["metadata"].get("labels", {}):
        raise NotReadyError("it does not bear the label of a control plane yet")
    ready = next((c for c in status.get("conditions", ()) if c.get("type") == "Ready"), None)
    if ready is None or ready.get("status") != "True":
        why = ready.get("message") if ready else "its kubelet has not reported yet"
        raise NotReadyError(f"it is not Ready: {why}")


class Pulse:
    """Tells a kubelet that lives from one whose last words came back with etcd.

    A kubelet renews its node's lease every ten seconds (kubernetes.io, "Leases").
    """

    def __init__(self) -> None:
        self._first: str | None = None

    def require(self, renewal: str) -> None:
        """Raise ``NotReadyError`` until a lease is seen with another time of renewal."""
        if self._first is None:
            self._first = renewal
        if renewal == self._first:
            raise NotReadyError("its kubelet has not been heard of since the restore")


def _renewal(props: Mapping[str, Any], api: ClusterApi) -> str:
    """When a node's lease was last renewed; empty where there is none yet."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{props['node']}"
    try:
        lease = api.get(path)
    except ApiError as error:
        raise NotReadyError(str(error)) from None
    return str(lease["spec"].get("renewTime", "")) if lease else ""


def _get(props: Mapping[str, Any], api: ClusterApi) -> Mapping[str, Any]:
    """The ``Node`` object, or ``NotReadyError`` with what stands in the way."""
    try:
        node = api.get(f"/api/v1/nodes/{props['node']}")
    except ApiError as error:
        raise NotReadyError(str(error)) from None
    if node is None:
        raise NotReadyError("it has not joined the cluster yet")
    return node
