"""The bootstrap of etcd: once in a cluster's life, and safe to ask for again.

The talos provider's own resource takes "already exists" for a failure and asks until its time is
up. A run that was cut off between the call and its record, or an answer that was lost, then leaves
a castle that no ``up`` can go on with, and nothing can import the resource (facts/end-to-end.md 9).
Here it is what was wanted: only the machines of this cluster accept the certificate that asks.

The state names ``BootstrapProvider`` by this module: a castle that was built before a move of it
could not be changed after.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import dynamic

from components import talos_call
from components.mutual_tls import context_of

LIMIT = 600
"""Seconds that a machine has to take up its config and listen."""
INTERVAL = 2
"""Seconds between two tries."""
PROCEDURE = "/machine.MachineService/Bootstrap"


class Bootstrap(dynamic.Resource, module="castle", name="Bootstrap"):
    """The etcd of a cluster, begun on its first control plane."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: str,
        credentials: pulumi.Output[Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Bootstrap the machine at the address ``node``.

        ``credentials`` are the ``client_configuration`` of the cluster's machine secrets: they
        become a secret.
        """
        super().__init__(
            BootstrapProvider(),
            resource_name,
            {
                "node": node,
                "ca_certificate": pulumi.Output.secret(credentials.ca_certificate),
                "client_certificate": pulumi.Output.secret(credentials.client_certificate),
                "client_key": pulumi.Output.secret(credentials.client_key),
            },
            opts,
        )


class BootstrapProvider(dynamic.ResourceProvider):
    """Bootstraps on create, and never again: a cluster has one beginning, wherever it moves."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Bootstrap, or find it done; raises with the last thing that stood in the way."""
        bootstrap(props)
        return dynamic.CreateResult(props["node"], {"node": props["node"]})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> dynamic.DiffResult:
        """A second beginning would be a second cluster, so no change is one."""
        return dynamic.DiffResult(changes=False)


def bootstrap(props: Mapping[str, Any], limit: float = LIMIT) -> None:
    """Ask every ``INTERVAL`` seconds, for at most ``limit`` seconds.

    Raises ``TimeoutError`` with the last thing that stood in the way.
    """
    context = context_of(props)
    until = time.monotonic() + limit
    while True:
        try:
            talos_call.call(props["node"], context, PROCEDURE)
        except talos_call.TalosCallError as refusal:
            if refusal.status == talos_call.ALREADY_EXISTS:
                return
            if time.monotonic() >= until:
                raise TimeoutError(
                    f"{props['node']} was not bootstrapped in {limit:.0f} s: {refusal}. Look at it "
                    f"with `talosctl --nodes {props['node']} dmesg` or on its console in Proxmox, "
                    "then run `up` again: it goes on from here."
                ) from None
            time.sleep(INTERVAL)
        else:
            return
