"""The stand-in charts of tests/e2e, rendered by the real Helm, and held against the real charts.

For that the real ones are found in the folder that CASTLE_CHARTS names: one sub-folder for each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.charts import all_values
from tests.e2e.lab import STAND_INS
from tests.e2e.rack.kubernetes import flux, manifests
from tests.e2e.rack.kubernetes.longhorn.engines import engine_image
from tests.e2e.rack.kubernetes.longhorn.settings import Settings
from tests.rack.test_stand_in_charts import SETTINGS, pinned

HELM = shutil.which("helm")
CHARTS = Path(os.environ.get("CASTLE_CHARTS", "/nonexistent"))

pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not on PATH")

SOURCES = [
    pytest.param(STAND_INS, id="stand-in"),
    pytest.param(
        CHARTS,
        id="real",
        marks=pytest.mark.skipif(
            not CHARTS.is_dir(), reason="CASTLE_CHARTS names no folder of charts"
        ),
    ),
]
NAMESPACES = {
    "longhorn": "longhorn-system",
    "metallb": "metallb-system",
    "traefik": "traefik",
    "flux-operator": "flux-system",
}
FORMS = [
    (name, form) for name in NAMESPACES for form in range(len(all_values(f"{name}-{pinned(name)}")))
]
"""Each chart with each form that our values for it take."""

Objects = dict[tuple[str, str], dict[str, Any]]
"""Kubernetes objects by their kinds and names."""


def values_of(name: str, form: int) -> dict[str, Any]:
    return all_values(f"{name}-{pinned(name)}")[form]


def helm(
    folder: Path, name: str, values: dict[str, Any], tmp_path: Path, kubernetes: str = ""
) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    version = kubernetes or SETTINGS.cluster.kubernetes.removeprefix("v")
    return subprocess.run(
        [
            *(str(HELM), "template", name, folder / name, "--namespace", NAMESPACES[name]),
            *("--include-crds", "--kube-version", version, "--values", file),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def render(folder: Path, name: str, values: dict[str, Any], tmp_path: Path) -> Objects:
    done = helm(folder, name, values, tmp_path)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "an old place of the redirection": ("traefik", {"ports": {"web": {"redirections": {}}}}),
    "a still older one": ("traefik", {"ports": {"web": {"redirectTo": {"port": "websecure"}}}}),
    "the old place of TLS": ("traefik", {"ports": {"websecure": {"tls": {"enabled": True}}}}),
    "the old place of the log": ("traefik", {"logs": {"general": {"level": "DEBUG"}}}),
    "any unknown key": ("traefik", {"globalArguments": []}),
    "an old way to expose": ("traefik", {"ports": {"web": {"expose": True}}}),
    "a host port that is not the port": (
        "traefik",
        {"hostNetwork": True, "ports": {"web": {"hostPort": 80}}},
    ),
    "an unknown level": ("metallb", {"controller": {"logLevel": "blah"}}),
    "two kinds of BGP": ("metallb", {"speaker": {"frr": {"enabled": True}}}),
    "no switch": ("flux-operator", {"web": {"enabled": "no"}}),
    "another unknown level": ("flux-operator", {"logLevel": "warn"}),
}
"""Values that the charts refuse."""


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_real_chart_refuses_is_refused(case: str, folder: Path, tmp_path: Path) -> None:
    name, values = REFUSED[case]
    assert helm(folder, name, values, tmp_path).returncode != 0


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize("name", NAMESPACES)
def test_its_own_values_are_enough(name: str, folder: Path, tmp_path: Path) -> None:
    assert helm(folder, name, {}, tmp_path).returncode == 0


SILENT: dict[str, tuple[str, dict[str, Any]]] = {
    "a typo": ("metallb", {"speaker": {"tolerationz": []}}),
    "another": ("longhorn", {"defaultSettings": {"deletingconfirmationflag": True}}),
    "a type beside the spec": ("traefik", {"service": {"type": "NodePort"}}),
    "what no volume has": ("traefik", {"persistence": {"foo": "bar"}}),
    "a typo in the page": ("flux-operator", {"web": {"enable": False}}),
}
"""Values that the charts silently ignore."""


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize("case", SILENT)
def test_what_the_real_chart_overlooks_is_overlooked(
    case: str, folder: Path, tmp_path: Path
) -> None:
    name, values = SILENT[case]
    with_it, without = (render(folder, name, v, tmp_path) for v in (values, {}))
    assert with_it.keys() == without.keys()
    for key in with_it:
        assert with_it[key] == without[key]


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize("name", ["longhorn", "traefik", "flux-operator"])
def test_an_old_kubernetes_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    done = helm(folder, name, {}, tmp_path, kubernetes="1.20.0")
    assert done.returncode != 0 and "kubeVersion" in done.stderr


@pytest.mark.parametrize("folder", SOURCES)
def test_a_claim_of_traefiks_own_outlives_it(folder: Path, tmp_path: Path) -> None:
    values = {"persistence": {"enabled": True, "storageClass": "longhorn"}}
    claim = render(folder, "traefik", values, tmp_path)["PersistentVolumeClaim", "traefik"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claim["spec"]["storageClassName"] == "longhorn"


@pytest.mark.parametrize("flag", [True, False])
def test_longhorn_goes_only_when_somebody_said_so(flag: bool, tmp_path: Path) -> None:
    values = {"defaultSettings": {"deletingConfirmationFlag": flag}}
    job = render(STAND_INS, "longhorn", values, tmp_path)["Job", "longhorn-uninstall"]
    annotations = job["spec"]["template"]["metadata"].get("annotations", {})
    assert ("rack.simulated/fails" in annotations) is not flag


@pytest.mark.parametrize("folder", SOURCES)
def test_the_stand_in_reads_longhorns_settings(folder: Path, tmp_path: Path) -> None:
    assert longhorn_settings({}, folder, tmp_path) == Settings()
    values = {
        "allowRecurringJobWhileVolumeDetached": True,
        "concurrentAutomaticEngineUpgradePerNodeLimit": 1,
        "createDefaultDiskLabeledNodes": True,
        "defaultDataPath": "/var/mnt/longhorn",
        "nodeDownPodDeletionPolicy": "delete-both-statefulset-and-deployment-pod",
        "replicaAutoBalance": "least-effort",
        "replicaZoneSoftAntiAffinity": False,
        "storageMinimalAvailablePercentage": 10,
        "storageReservedPercentageForDefaultDisk": 0,
    }
    assert longhorn_settings(values, folder, tmp_path) == Settings(
        allow_recurring_job_while_volume_detached=True,
        concurrent_automatic_engine_upgrade_per_node_limit=1,
        create_default_disk_labeled_nodes=True,
        default_data_path="/var/mnt/longhorn",
        node_down_pod_deletion_policy="delete-both-statefulset-and-deployment-pod",
        replica_auto_balance="least-effort",
        replica_zone_soft_anti_affinity=False,
        storage_minimal_available_percentage=10,
        storage_reserved_percentage_for_default_disk=0,
    )


def longhorn_settings(values: dict[str, Any], folder: Path, tmp_path: Path) -> Settings:
    objects = render(folder, "longhorn", {"defaultSettings": values}, tmp_path)
    return Settings.from_config_map(objects["ConfigMap", "longhorn-default-setting"])


@pytest.mark.parametrize("folder", SOURCES)
def test_the_stand_in_finds_longhorns_engine_image(folder: Path, tmp_path: Path) -> None:
    values = {"image": {"longhorn": {"engine": {"tag": "v9.9.9"}}}}
    for given, tag in (({}, pinned("longhorn")), (values, "9.9.9")):
        manager = render(folder, "longhorn", given, tmp_path)["DaemonSet", "longhorn-manager"]
        assert engine_image(manager).endswith(f"/longhorn-engine:v{tag}")


@pytest.mark.parametrize("folder", SOURCES)
def test_longhorns_class_can_retain_volumes(folder: Path, tmp_path: Path) -> None:
    values = {"persistence": {"reclaimPolicy": "Retain"}}
    found = render(folder, "longhorn", values, tmp_path)["ConfigMap", "longhorn-storageclass"]
    assert yaml.safe_load(found["data"]["storageclass.yaml"])["reclaimPolicy"] == "Retain"


@pytest.mark.skipif(not CHARTS.is_dir(), reason="CASTLE_CHARTS names no folder of charts")
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_with_our_values_it_is_as_the_real_one(name: str, form: int, tmp_path: Path) -> None:
    values = values_of(name, form)
    ours, real = (render(folder, name, values, tmp_path) for folder in (STAND_INS, CHARTS))
    assert ours.keys() - real.keys() == set()
    for kind in ("Deployment", "DaemonSet", "Job", "ValidatingWebhookConfiguration"):
        assert {n for k, n in ours if k == kind} == {n for k, n in real if k == kind}
    for key, document in ours.items():
        assert traits(document) == traits(real[key]), key


@pytest.mark.skipif(not CHARTS.is_dir(), reason="CASTLE_CHARTS names no folder of charts")
@pytest.mark.parametrize("name", flux.FILES)
def test_what_the_operator_installs_is_as_the_real_thing(name: str) -> None:
    ours, real = (
        {(it["kind"], it["metadata"]["name"]): it for it in manifests.read_file(folder / file)}
        for folder in (STAND_INS, CHARTS)
        for file in [f"flux-distribution/{name}.yaml"]
    )
    assert ours.keys() - real.keys() == set()
    assert {n for k, n in ours if k == "Deployment"} == {n for k, n in real if k == "Deployment"}
    for key, document in ours.items():
        assert traits(document) == traits(real[key]), key


def traits(document: dict[str, Any]) -> Any:
    """The part of an object that the rack, the program or a test reads."""
    spec = document.get("spec") or {}
    match document["kind"]:
        case "Deployment" | "DaemonSet" | "Job":
            return {
                "hook": (document["metadata"].get("annotations") or {}).get("helm.sh/hook"),
                "replicas": spec.get("replicas", 1),
                "strategy": spec.get("strategy", {"type": "RollingUpdate"}),
                "limits": (spec.get("activeDeadlineSeconds"), spec.get("backoffLimit")),
                **_pod(spec["template"]["spec"]),
            }
        case "Service":
            ports = sorted(port["port"] for port in spec["ports"])
            annotations = document["metadata"].get("annotations") or {}
            return spec.get("type", "ClusterIP"), ports, annotations
        case "CustomResourceDefinition":
            versions = {v["name"] for v in spec["versions"] if v["served"] and v["storage"]}
            kept = (document["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")
            return spec["group"], spec["scope"], spec["names"]["kind"], versions, kept
        case "ConfigMap" if document["metadata"]["name"] == "longhorn-storageclass":
            made = yaml.safe_load(document["data"]["storageclass.yaml"])
            kept = ("metadata", "provisioner", "reclaimPolicy", "allowVolumeExpansion")
            replicas = made["parameters"]["numberOfReplicas"]
            return {key: made[key] for key in kept} | {"replicas": replicas}
        case "ConfigMap" if document["metadata"]["name"] == "longhorn-default-setting":
            return Settings.from_config_map(document)
        case "ConfigMap" if document["metadata"]["name"] == "longhorn-default-resource":
            return yaml.safe_load(document["data"]["default-resource.yaml"])
        case "ValidatingWebhookConfiguration":
            hooks = {
                hook["name"]: (
                    hook["failurePolicy"],
                    hook["rules"],
                    hook["clientConfig"]["service"],
                )
                for hook in document["webhooks"]
            }
            watched = ("ipaddresspool", "l2advertisement")
            return {name: hook for name, hook in hooks.items() if name.startswith(watched)}
        case "IngressClass":
            return spec, document["metadata"]["annotations"]
    return None


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    security = [container.get("securityContext") or {} for container in containers]
    return {
        "host network": spec.get("hostNetwork", False),
        "DNS": spec.get("dnsPolicy"),
        "on": spec.get("nodeSelector"),
        "tolerates": spec.get("tolerations"),
        "user": (spec.get("securityContext") or {}).get("runAsUser"),
        "privileged": any(s.get("privileged") for s in security),
        "capabilities": [s["capabilities"] for s in security if "capabilities" in s],
        "host ports": sorted(
            port["hostPort"]
            for container in containers
            for port in container.get("ports") or []
            if "hostPort" in port
        ),
        "host paths": any("hostPath" in volume for volume in spec.get("volumes", [])),
        "claims": [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in spec.get("volumes", [])
            if "persistentVolumeClaim" in volume
        ],
    }
