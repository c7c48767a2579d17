"""Values of the charts for tests: builders for each chart, and the keys that the charts have."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from components import flux, longhorn, metallb
from components.traefik import traefik
from lifecycle.longhorn_storage import LonghornStorageArgs
from settings.backups import S3, VolumeBackup
from settings.chart_source import ChartSource
from settings.charts import DnsChallenge

CHART = ChartSource(name="chart", version="1.2.3", repository="https://charts.example.org")
DNS = DnsChallenge.model_validate(
    {"provider": "desec", "credentials": {"DESEC_TOKEN": "abc"}, "wildcards": ["tazlab.net"]}
)
BACKUP = VolumeBackup(target="nfs://192.168.1.5:/backups")
BUCKET = VolumeBackup(target="s3://castle@home/volumes")
ACCOUNT = S3(
    endpoint="https://192.168.1.5:9000", access_key="castle", secret_key=SecretStr("5eed1e55cafe")
)
LONGHORN_STORAGE = LonghornStorageArgs(
    restored=False,
    data_disks={"worker-1": 43},
    other_nodes=[],
    replicas=2,
    claims=longhorn.CLAIMS,
    chart_version="1.12.1",
    rebuild_s=3600,
    kubeconfig="kubeconfig",
)
KEYS = Path(__file__).resolve().parents[1] / "data" / "charts"
"""Keys of the default values of each chart, one dotted path per line."""


def traefik_values(
    exposure: Any,
    acme_server: Any = "production",
    certificates: dict[str, str] | None = None,
    dns: DnsChallenge | None = None,
) -> dict[str, Any]:
    return traefik.values(
        traefik.TraefikArgs(
            chart=CHART,
            exposure=exposure,
            address=IPv4Address("192.168.1.240"),
            storage_class="longhorn",
            after=[],
            acme_email="me@example.org",
            acme_server=acme_server,
            certificates=certificates,
            dns=dns,
        )
    )


def longhorn_values(
    backup: VolumeBackup | None = None, reclaim_policy: Literal["retain", "delete"] = "retain"
) -> dict[str, Any]:
    return longhorn.values(
        longhorn.LonghornArgs(
            chart=CHART,
            replicas=2,
            reclaim_policy=reclaim_policy,
            backup=backup,
            s3=ACCOUNT,
            storage=LONGHORN_STORAGE,
        )
    )


def all_values(chart: str) -> list[dict[str, Any]]:
    """The values of a chart for all relevant combinations of arguments."""
    return {
        "longhorn-1.12.1": [longhorn_values(), longhorn_values(BACKUP), longhorn_values(BUCKET)],
        "metallb-0.16.1": [metallb.VALUES],
        "traefik-41.3.0": [
            traefik_values("load-balancer"),
            traefik_values("host-network"),
            traefik_values("load-balancer", certificates={"acme.json": "{}"}),
            traefik_values("host-network", certificates={"acme.json": "{}"}, dns=DNS),
        ],
        "flux-operator-0.49.0": [flux.VALUES],
    }[chart]


OPEN = {
    "certificatesResolvers.letsencrypt",
    "nodeSelector",
    "deployment.podAnnotations",
    "service.annotations",
    "service.spec",
    "ports.web.http.redirections",
    "ports.web.hostPort",
    "ports.websecure.hostPort",
    "securityContext.capabilities.add",
}
"""Keys that the charts' default values omit or leave empty; the charts' schemas contain them."""


def key_paths(values: dict[str, Any], above: str = "") -> list[str]:
    """Return the dotted path of every key, without ``OPEN`` and the keys below."""
    found = []
    for key, value in values.items():
        path = f"{above}{key}"
        if path in OPEN:
            continue
        found.append(path)
        if isinstance(value, dict):
            found += key_paths(value, f"{path}.")
    return found
