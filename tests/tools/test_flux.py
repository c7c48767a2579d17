"""The kinds of Flux take our objects: those of our stand-ins, and the real ones.

The real ones are found in the folder that CASTLE_CHARTS names: ``flux-operator``, the chart, and
the manifests of Flux that the operator brings along in ``flux-distribution``.
"""

from __future__ import annotations

from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components import flux
from settings.chart_source import ChartSource
from tests.e2e.rack.kubernetes import manifests
from tests.tools.test_stand_ins import HELM, SOURCES, render

ARGS = flux.FluxArgs(
    chart=ChartSource(name="flux-operator", version="0.49.0", repository="oci://nowhere"),
    url="ssh://git@git.tazlab.net/me/manifests.git",
    branch="main",
    path="./apps",
    interval="1m",
    credentials={"identity": "a key"},
    age_key="another key",
    reclaim_policy="retain",
    kubeconfig="",
    after=[],
    read_health=lambda _: {},
)


@pytest.mark.skipif(HELM is None, reason="helm is not on PATH")
@pytest.mark.parametrize("folder", SOURCES)
def test_the_chart_brings_the_kind_of_its_instance(folder: Path, tmp_path: Path) -> None:
    metadata = yaml.safe_load((folder / "flux-operator" / "Chart.yaml").read_text(encoding="utf-8"))
    assert metadata["version"] == ARGS.chart.version
    documents = list(render(folder, "flux-operator", flux.VALUES, tmp_path).values())
    refused = [("distribution.version", None), ("components", ["source"]), ("cluster.type", "bare")]
    takes(documents, "FluxInstance", flux.instance_spec(), refused)


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize(
    ("name", "kind", "spec", "refused"),
    [
        (
            "source-controller",
            "GitRepository",
            flux.source_spec(ARGS),
            [("url", "git@github.com:me/x.git"), ("interval", "1 day"), ("secretRef.name", None)],
        ),
        (
            "kustomize-controller",
            "Kustomization",
            flux.kustomization_spec(ARGS),
            [
                ("sourceRef.kind", "Git"),
                ("deletionPolicy", "orphan"),
                ("prune", None),
                ("decryption.provider", "age"),
            ],
        ),
    ],
    ids=["source", "Kustomization"],
)
def test_the_kinds_of_flux_take_our_objects(
    name: str, kind: str, spec: dict[str, Any], refused: list[tuple[str, Any]], folder: Path
) -> None:
    documents = manifests.read_file(folder / "flux-distribution" / f"{name}.yaml")
    takes(documents, kind, spec, refused)


def takes(
    documents: list[dict[str, Any]],
    kind: str,
    spec: dict[str, Any],
    refused: list[tuple[str, Any]],
) -> None:
    """See that a kind takes a spec, and none with a change: at a path, a value or nothing."""
    accepts(documents, kind, "v1", spec)
    for path, value in [*refused, ("intervall", "1m")]:
        wrong = deepcopy(spec)
        *places, last = path.split(".")
        holder = reduce(dict.__getitem__, places, wrong)
        if value is None:
            del holder[last]
        else:
            holder[last] = value
        with pytest.raises(jsonschema.ValidationError):
            accepts(documents, kind, "v1", wrong)


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
