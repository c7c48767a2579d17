"""The Helm charts: each repository answers, and has the pinned version."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from doctor import web
from doctor.context import Context
from doctor.findings import Finding, failure, ok, warning
from doctor.probes import Fetch
from settings.chart_source import ChartSource
from settings.charts import Chart

_MANIFESTS = "application/vnd.oci.image.manifest.v1+json"
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The index of a repository has a few MiB: in plain Python that takes a minute."""


def longhorn(context: Context) -> Iterator[Finding]:
    """Longhorn's chart."""
    return _of(context, "longhorn", context.settings.longhorn)


def metallb(context: Context) -> Iterator[Finding]:
    """MetalLB's chart."""
    return _of(context, "metallb", context.settings.metallb)


def traefik(context: Context) -> Iterator[Finding]:
    """Traefik's chart."""
    return _of(context, "traefik", context.settings.traefik)


def flux(context: Context) -> Iterator[Finding]:
    """The Flux Operator's chart, where there is a group ``flux``."""
    if context.settings.flux is not None:
        yield from _of(context, "flux-operator", context.settings.flux, group="flux")


def _of(context: Context, name: str, chart: Chart, group: str = "") -> Iterator[Finding]:
    source = ChartSource.of(name, chart)
    return _check(source, group or name, context.probes.fetch, context.unreachable)


def _check(
    chart: ChartSource,
    group: str,
    fetch: Fetch,
    unreachable: Callable[[str, str, str], Finding] = failure,
) -> Iterator[Finding]:
    """``group`` is the group of settings that names the chart."""
    subject = f"{chart.name} {chart.version}"
    if "://" not in chart.repository:
        yield _in_folder(chart, group, subject)
        return
    try:
        there = _in_registry(chart, fetch) if _is_oci(chart) else _in_index(chart, fetch)
    except (*web.ASKING, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        yield unreachable(
            subject,
            f"cannot be looked up in {chart.repository}: {web.reason(error)}",
            f"check {group}.chart_repository, and this machine's way to the internet",
        )
        return
    if there:
        yield ok(subject, f"is in {chart.repository}")
    else:
        fix = f"choose a {group}.chart_version that is there"
        yield failure(subject, f"is not in {chart.repository}", fix)


def _is_oci(chart: ChartSource) -> bool:
    return chart.repository.startswith("oci://")


def _in_folder(chart: ChartSource, group: str, subject: str) -> Finding:
    """A folder's chart is taken as it is: Helm asks for no version there."""
    file = Path(chart.repository) / chart.name / "Chart.yaml"
    version = str(yaml.safe_load(file.read_text(encoding="utf-8")).get("version"))
    if version == chart.version:
        return ok(subject, f"lies in {chart.repository}")
    return warning(
        subject,
        f"is not what lies in {chart.repository}: that is {version}, and it would be installed",
        f"put {chart.version} there, or set {group}.chart_version to {version}",
    )


def _in_index(chart: ChartSource, fetch: Fetch) -> bool:
    text = fetch(f"{chart.repository.rstrip('/')}/index.yaml")
    entries = yaml.load(text, Loader=_Loader)["entries"].get(chart.name, [])
    # Helm takes a leading v for the same version.
    return chart.version in {str(entry["version"]).removeprefix("v") for entry in entries}


def _in_registry(chart: ChartSource, fetch: Fetch) -> bool:
    """Whether a registry has a manifest of that tag (OCI distribution specification)."""
    parts = urllib.parse.urlsplit(f"{chart.repository.rstrip('/')}/{chart.name}")
    manifest = f"https://{parts.netloc}/v2{parts.path}/manifests/{chart.version}"
    accept = {"Accept": _MANIFESTS}
    try:
        try:
            fetch(manifest, accept)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            error.close()
            token = _anonymous(error.headers.get("WWW-Authenticate", ""), fetch)
            fetch(manifest, accept | {"Authorization": f"Bearer {token}"})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        error.close()
        return False
    return True


def _anonymous(challenge: str, fetch: Fetch) -> str:
    """The token that anybody gets: public registries ask for one all the same."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({k: v for k, v in fields.items() if k in ("service", "scope")})
    answer = json.loads(fetch(f"{fields['realm']}?{query}"))
    return str(answer.get("token") or answer["access_token"])
