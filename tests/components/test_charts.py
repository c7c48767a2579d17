"""Helm values: their content, and that the charts have every key."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from components import flux, longhorn, metallb
from components.shared.objects import namespace_labels
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
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "charts"


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


def test_traefik_behind_metallb_has_a_fixed_address_and_deletes_its_old_pod_first() -> None:
    values = traefik_values("load-balancer")
    assert values["service"] == {
        "annotations": {"metallb.io/loadBalancerIPs": "192.168.1.240"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    }
    assert values["updateStrategy"]["type"] == "Recreate"
    assert "hostNetwork" not in values and "nodeSelector" not in values


def test_traefik_in_the_host_network_uses_ports_80_and_443_of_a_control_plane() -> None:
    values = traefik_values("host-network")
    assert values["hostNetwork"] is True
    assert values["deployment"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert values["ports"]["web"]["hostPort"] == values["ports"]["web"]["port"] == 80
    assert values["ports"]["websecure"]["hostPort"] == values["ports"]["websecure"]["port"] == 443
    assert values["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert "node-role.kubernetes.io/control-plane" in values["nodeSelector"]
    assert values["service"] == {"enabled": False}


def test_the_init_script_makes_the_files_private(tmp_path: Path) -> None:
    """Runs the script, changed to run without root, on an empty volume and on one with files."""
    (container,) = traefik_values("load-balancer")["deployment"]["initContainers"]
    script = container["command"][2].replace("/data", str(tmp_path))
    script = script.replace("65532:65532", f"{os.getuid()}:{os.getgid()}")
    subprocess.run(["sh", "-c", script], check=True)
    assert list(tmp_path.iterdir()) == []
    files = {"acme.json": b'{"letsencrypt": 1}', "acme-staging.json": b"{}"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o644)
    subprocess.run(["sh", "-c", script], check=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_staging_and_production_certificates_are_in_different_files() -> None:
    """With one file Traefik would still use the valid staging certificates after the change."""

    def storage(server: str) -> str:
        values = traefik_values("load-balancer", server)
        return str(values["certificatesResolvers"]["letsencrypt"]["acme"]["storage"])

    assert storage("staging") == "/data/acme-staging.json"
    assert storage("production") == "/data/acme.json"


@pytest.mark.parametrize(("exposure", "user"), [("load-balancer", 65532), ("host-network", 0)])
def test_traefiks_user_owns_the_volume_in_both_exposures(exposure: str, user: int) -> None:
    values = traefik_values(exposure)
    (container,) = values["deployment"]["initContainers"]
    assert f"chown -R {user}:{user} /data" in container["command"][2]
    assert container["securityContext"]["runAsUser"] == 0
    assert values["podSecurityContext"]["runAsUser"] == user
    assert "fsGroup" not in values["podSecurityContext"]


@pytest.mark.parametrize("exposure", ["load-balancer", "host-network"])
def test_certificates_are_on_the_existing_claim_and_http_redirects_to_https(exposure: str) -> None:
    values = traefik_values(exposure)
    assert values["persistence"]["existingClaim"] == "traefik-certificates"
    assert values["deployment"]["replicas"] == 1
    redirect = values["ports"]["web"]["http"]["redirections"]["entryPoint"]
    assert redirect == {"to": "websecure", "scheme": "https", "permanent": True}
    acme = values["certificatesResolvers"]["letsencrypt"]["acme"]
    assert acme["caServer"] == "https://acme-v02.api.letsencrypt.org/directory"
    assert acme["storage"] == "/data/acme.json"


def test_longhorn_has_the_configured_number_of_copies_and_can_be_uninstalled() -> None:
    values = longhorn_values()
    assert values["persistence"]["defaultClassReplicaCount"] == 2
    assert json.loads(values["defaultSettings"]["defaultReplicaCount"]) == {"v1": "2", "v2": "2"}
    assert values["defaultSettings"]["deletingConfirmationFlag"] is True
    assert values["defaultSettings"]["createDefaultDiskLabeledNodes"] is True


def test_longhorn_leaves_ten_percent_of_its_disk_free() -> None:
    settings = longhorn_values()["defaultSettings"]
    assert settings["storageReservedPercentageForDefaultDisk"] == 0
    assert settings["storageMinimalAvailablePercentage"] == 10


def test_longhorn_handles_failed_nodes_balances_copies_and_upgrades_engines() -> None:
    settings = longhorn_values()["defaultSettings"]
    assert settings["nodeDownPodDeletionPolicy"] == "delete-both-statefulset-and-deployment-pod"
    assert settings["replicaAutoBalance"] == "least-effort"
    assert settings["allowRecurringJobWhileVolumeDetached"] is True
    assert settings["concurrentAutomaticEngineUpgradePerNodeLimit"] == 1


@pytest.mark.parametrize(("setting", "policy"), [("retain", "Retain"), ("delete", "Delete")])
def test_the_storage_class_has_the_configured_reclaim_policy(
    setting: Literal["retain", "delete"], policy: str
) -> None:
    assert longhorn_values(reclaim_policy=setting)["persistence"]["reclaimPolicy"] == policy


def test_longhorn_always_tolerates_control_planes() -> None:
    values = longhorn_values()
    assert values["longhornManager"]["tolerations"][0]["effect"] == "NoSchedule"
    assert values["longhornDriver"]["tolerations"] == values["longhornManager"]["tolerations"]
    assert values["defaultSettings"]["taintToleration"].endswith("control-plane:NoSchedule")


def test_metallb_announces_from_the_node_that_runs_traefik_also_if_it_is_a_control_plane() -> None:
    assert metallb.VALUES["speaker"]["ignoreExcludeLB"] is True
    assert metallb.VALUES["frrk8s"] == {"enabled": False}
    assert metallb.VALUES["crds"] == {"validationFailurePolicy": "Ignore"}


@pytest.mark.parametrize("chart", ["longhorn-1.12.1", "metallb-0.16.1", "traefik-41.3.0"])
def test_the_charts_have_every_key(chart: str) -> None:
    """Helm ignores a mistyped key in Longhorn's chart (no schema) and MetalLB's (open schema)."""
    known = set((KEYS / f"{chart}.txt").read_text(encoding="utf-8").split())
    for values in all_values(chart):
        assert sorted(key for key in _keys(values) if key not in known) == []


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


def _keys(values: dict[str, Any], above: str = "") -> list[str]:
    """Return the dotted path of every key, without ``OPEN`` and the keys below."""
    found = []
    for key, value in values.items():
        path = f"{above}{key}"
        if path in OPEN:
            continue
        found.append(path)
        if isinstance(value, dict):
            found += _keys(value, f"{path}.")
    return found


def test_a_mistyped_key_is_found() -> None:
    assert "speaker.tolerationz" in _keys({"speaker": {"tolerationz": []}})
    known = (KEYS / "metallb-0.16.1.txt").read_text(encoding="utf-8").split()
    assert "speaker.tolerations" in known and "speaker.tolerationz" not in known


@pytest.mark.parametrize("chart", ["metallb-0.16.1", "traefik-41.3.0"])
def test_the_charts_schemas_accept_the_values(chart: str) -> None:
    file = SHARED / f"{chart}.values.schema.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not beside the project")
    schema = json.loads(file.read_text(encoding="utf-8"))
    known = yaml.safe_load((SHARED / f"{chart}.values.yaml").read_text(encoding="utf-8"))
    for values in all_values(chart):
        jsonschema.Draft7Validator(schema).validate(_merged(known, values))


def _merged(known: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Merge values over the chart's defaults like Helm: a null removes a key."""
    result = dict(known)
    for key, value in values.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def test_a_chart_comes_from_a_repository_a_registry_or_a_folder() -> None:
    def args(repository: str) -> dict[str, Any]:
        return ChartSource(name="traefik", version="41.3.0", repository=repository).release_args()

    web = "https://traefik.github.io/charts"
    assert args(web) == {
        "chart": "traefik",
        "version": "41.3.0",
        "repository_opts": {"repo": web},
    }
    assert args("oci://ghcr.io/traefik/helm")["chart"] == "oci://ghcr.io/traefik/helm/traefik"
    assert args("/srv/charts") == {"chart": "/srv/charts/traefik", "version": "41.3.0"}


def test_a_namespace_has_its_pod_security_level_in_all_three_modes() -> None:
    assert namespace_labels("privileged") == {
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/audit": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
    }
