"""The real chart takes our values, and the real kinds take our objects.

Both are found in the folder that CASTLE_CHARTS names: ``flux-operator``, and the manifests of Flux
that the operator brings along in ``flux-distribution``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components import flux
from components.chart import ChartSource

HELM = shutil.which("helm")
CHARTS = Path(os.environ.get("CASTLE_CHARTS", "/nonexistent"))
CHART, DISTRIBUTION = CHARTS / "flux-operator", CHARTS / "flux-distribution"

ARGS = flux.FluxArgs(
    chart=ChartSource(name="flux-operator", version="0.49.0", repository="oci://nowhere"),
    url="ssh://git@git.tazlab.net/me/manifests.git",
    branch="main",
    path="./apps",
    interval="1m",
    credentials={"identity": "a key"},
    age_key="another key",
    kubeconfig="",
    after=[],
)


@pytest.mark.skipif(HELM is None, reason="helm is not on PATH")
@pytest.mark.skipif(not CHART.is_dir(), reason="CASTLE_CHARTS holds no flux-operator")
def test_the_chart_renders_and_brings_the_kind_of_its_instance(tmp_path: Path) -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert metadata["version"] == ARGS.chart.version
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(flux.VALUES), encoding="utf-8")
    done = subprocess.run(
        [str(HELM), "template", "flux", CHART, "--kube-version", "1.36.3", "-f", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    documents = [it for it in yaml.safe_load_all(done.stdout) if it]
    assert {"Deployment", "CustomResourceDefinition"} <= {it["kind"] for it in documents}
    accepts(documents, "FluxInstance", "v1", flux.instance_spec())


@pytest.mark.skipif(not DISTRIBUTION.is_dir(), reason="CASTLE_CHARTS holds no flux-distribution")
@pytest.mark.parametrize(
    ("file", "kind", "spec"),
    [
        ("source-controller.yaml", "GitRepository", flux.source_spec(ARGS)),
        ("kustomize-controller.yaml", "Kustomization", flux.kustomization_spec(ARGS)),
    ],
)
def test_the_kinds_of_flux_take_our_objects(file: str, kind: str, spec: dict[str, Any]) -> None:
    text = (DISTRIBUTION / file).read_text(encoding="utf-8")
    documents = [it for it in yaml.safe_load_all(text) if it]
    accepts(documents, kind, "v1", spec)
    with pytest.raises(jsonschema.ValidationError):
        accepts(documents, kind, "v1", spec | {"intervall": "1m"})


def accepts(documents: list[dict[str, Any]], kind: str, version: str, spec: dict[str, Any]) -> None:
    """Raise unless a kind's schema knows every key of a spec, and takes its value."""
    (schema,) = [
        served["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for it in documents
        if it["kind"] == "CustomResourceDefinition" and it["spec"]["names"]["kind"] == kind
        for served in it["spec"]["versions"]
        if served["name"] == version
    ]
    jsonschema.Draft7Validator(_closed(schema)).validate(spec)


def _closed(schema: Any) -> Any:
    """The schema with no room for unknown keys: the API server drops them without a word."""
    if isinstance(schema, list):
        return [_closed(it) for it in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
