"""MetalLB in L2 mode: addresses of the local network for Services of type LoadBalancer.

BGP, and with it FRR, is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi

from clients.kubernetes.api import CONTROL_PLANE_TOLERATION
from components.shared.objects import make_custom_object, make_namespace, make_release
from settings.chart_source import ChartSource
from settings.models import Settings

NAMESPACE = "metallb-system"
POOL = "main-pool"
ADVERTISEMENT = "l2-adv"


@dataclass(frozen=True, kw_only=True)
class MetalLBArgs:
    """Arguments of ``MetalLB``."""

    chart: ChartSource
    """The Helm chart."""
    addresses: str
    """Addresses of the pool, ``FIRST-LAST``, outside the router's DHCP range."""

    @classmethod
    def of(cls, settings: Settings) -> MetalLBArgs:
        """Create the arguments from the settings."""
        return cls(
            chart=ChartSource.of("metallb", settings.metallb),
            addresses=str(settings.metallb.pool),
        )


class MetalLB(pulumi.ComponentResource):
    """Namespace and Helm release of MetalLB, and one pool announced in the local network."""

    pool: str
    """Name of the pool. A Service with an address of the pool must depend on this component."""

    def __init__(
        self, name: str, args: MetalLBArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:MetalLB", name, None, opts)
        self.pool = POOL
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "privileged")
        release = make_release(self, f"{name}-release", NAMESPACE, args.chart, VALUES, [namespace])
        pool = make_custom_object(
            self,
            f"{name}-pool",
            NAMESPACE,
            POOL,
            "metallb.io/v1beta1/IPAddressPool",
            {"addresses": [args.addresses], "autoAssign": True},
            [release],
        )
        make_custom_object(
            self,
            f"{name}-advertisement",
            NAMESPACE,
            ADVERTISEMENT,
            "metallb.io/v1beta1/L2Advertisement",
            {"ipAddressPools": [POOL]},
            [pool],
        )
        self.register_outputs({"pool": self.pool})


VALUES: dict[str, Any] = {
    "controller": {"tolerations": [CONTROL_PLANE_TOLERATION]},
    "speaker": {
        "tolerations": [CONTROL_PLANE_TOLERATION],
        # Talos gives control planes the label exclude-from-external-load-balancers
        # (siderolabs/talos#9960). Only the node that runs Traefik can announce its address
        # (externalTrafficPolicy Local), and Traefik may run on a control plane.
        "ignoreExcludeLB": True,
    },
    # On by default since 0.16. Only BGP needs it.
    "frrk8s": {"enabled": False},
    # MetalLB's webhook starts to answer some time after its pod is ready. Until then the API
    # server would refuse all pools with error 500. The settings are checked before.
    "crds": {"validationFailurePolicy": "Ignore"},
}
"""The chart values. The chart's schema checks types, but accepts unknown keys."""
