"""The health gate: a resource that exists once its node is ready in Kubernetes.

One for each node, so that a new worker previews as that worker and nothing else, and one dead node
is named. It waits when it is created and never again: it cannot block a preview, a repair or a
destroy. What needs the cluster depends on all of them, through the Kubernetes provider.

Leaves out what runs on the node: the components wait for that themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import dynamic

from components import control_plane
from components.cluster_api import ApiError, ClusterApi
from components.mutual_tls import context_of, inputs_of
from components.wait import NotYet, wait_until
from lifecycle.provider import MODULE, Provider

LIMIT = 900
"""Seconds that a node has to join: a first boot pulls all images of Kubernetes."""


class NotReadyError(NotYet):
    """What a node still lacks, as a sentence."""


class NodeReady(dynamic.Resource, module=MODULE, name="NodeReady"):
    """A node of the cluster that is ready, under its declared name and at its declared address."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: str,
        address: str,
        control_plane: bool,
        endpoint: str,
        restored: bool,
        credentials: pulumi.Output[Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Wait for ``node`` at ``address``.

        ``endpoint`` is the Kubernetes API, ``https://VIP:6443``. In a ``restored`` cluster what
        it tells of a node may be of another time. ``credentials`` are a ``credentials.Client`` of
        Kubernetes: they become a secret.
        """
        super().__init__(
            NodeReadyProvider(),
            resource_name,
            {
                "node": node,
                "address": address,
                "control_plane": control_plane,
                "endpoint": endpoint,
                "restored": restored,
                **inputs_of(credentials),
            },
            opts,
        )


class NodeReadyProvider(Provider):
    """Waits on create, and has nothing to do at any other time."""

    name = "NodeReady"
    id_input = "node"
    compared = ("node", "address", "control_plane", "endpoint")
    kept = compared

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until the node is ready; raises with the last thing that was missing."""
        wait_until_ready(props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Another node is another gate; renewed credentials are not."""
        changed = self.changed(olds, news)
        return dynamic.DiffResult(changes=bool(changed), replaces=changed)


def wait_until_ready(props: Mapping[str, Any], limit: float = LIMIT) -> None:
    """Look at the node again and again, for at most ``limit`` seconds.

    Raises ``TimeoutError`` with the last thing that was missing.
    """
    api = ClusterApi(props["endpoint"], context_of(props))
    pulse = Pulse() if props.get("restored") else None

    def look() -> None:
        node = _get(props, api)
        check_node(node, props)
        if pulse:
            pulse.require(_renewal(props, api))

    def told(missing: str) -> TimeoutError:
        return TimeoutError(
            f"{props['node']} ({props['address']}) is not ready after {limit:.0f} s: {missing}. "
            f"Look at it with `talosctl --nodes {props['address']} dmesg` or on its console in "
            "Proxmox, then run `up` again: it goes on from here."
        )

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
