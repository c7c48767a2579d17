"""Checks of the Helm charts: each repository answers, and has the pinned version."""

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
from doctor.context import Check, Context
from doctor.findings import Finding, failure, ok, warning
from doctor.probes import Fetch
from settings.chart_source import ChartSource

_MANIFESTS = "application/vnd.oci.image.manifest.v1+json"
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Uses libyaml if possible, because the plain parser needs a minute for an index of a few MiB."""


def chart_check(group: str, chart: str = "") -> Check:
    """Return the check of the chart of a settings group; it has no findings without the group.

    ``chart`` is the name of the chart if it differs from the name of the group.
    """

    def check(context: Context) -> Iterator[Finding]:
        settings = getattr(context.settings, group)
        if settings is not None:
            source = ChartSource.of(chart or group, settings)
            fetch, problem = context.probes.fetch, context.download_problem
            yield from _check_chart(source, group, fetch, problem)

    return check


def _check_chart(
    chart: ChartSource,
    group: str,
    fetch: Fetch,
    download_problem: Callable[[str, str, str], Finding] = failure,
) -> Iterator[Finding]:
    """Check that the pinned version exists; ``group`` is the chart's group in the stack file."""
    subject = f"{chart.name} {chart.version}"
    if "://" not in chart.repository:
        yield _in_folder(chart, group, subject)
        return
    try:
        has_version = _registry_has(chart, fetch) if _is_oci(chart) else _index_has(chart, fetch)
    except (*web.FETCH_ERRORS, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        yield download_problem(
            subject,
            f"cannot be found, because {chart.repository} cannot be read: {web.reason(error)}",
            f"check {group}.chart_repository, and this machine's internet access",
        )
        return
    if has_version:
        yield ok(subject, f"is in {chart.repository}")
    else:
        fix = f"set {group}.chart_version to a version that the repository has"
        yield failure(subject, f"is not in {chart.repository}", fix)


def _is_oci(chart: ChartSource) -> bool:
    return chart.repository.startswith("oci://")


def _in_folder(chart: ChartSource, group: str, subject: str) -> Finding:
    """Compare the version of a chart in a folder. Helm installs it whatever its version is."""
    file = Path(chart.repository) / chart.name / "Chart.yaml"
    version = str(yaml.safe_load(file.read_text(encoding="utf-8")).get("version"))
    if version == chart.version:
        return ok(subject, f"is in {chart.repository}")
    return warning(
        subject,
        f"is not in the folder {chart.repository}: `up` would install {version}, which is there",
        f"put {chart.version} into the folder, or set {group}.chart_version to {version}",
    )


def _index_has(chart: ChartSource, fetch: Fetch) -> bool:
    text = fetch(f"{chart.repository.rstrip('/')}/index.yaml")
    entries = yaml.load(text, Loader=_Loader)["entries"].get(chart.name, [])
    # Helm ignores a leading v of a version.
    return chart.version in {str(entry["version"]).removeprefix("v") for entry in entries}


def _registry_has(chart: ChartSource, fetch: Fetch) -> bool:
    """Whether a registry has a manifest with this tag (OCI distribution specification)."""
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
            token = _get_anonymous_token(error.headers.get("WWW-Authenticate", ""), fetch)
            fetch(manifest, accept | {"Authorization": f"Bearer {token}"})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        error.close()
        return False
    return True


def _get_anonymous_token(challenge: str, fetch: Fetch) -> str:
    """Get the anonymous token that public registries require.

    ``challenge`` is the header ``WWW-Authenticate`` of the registry's answer.
    """
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({k: v for k, v in fields.items() if k in ("service", "scope")})
    answer = json.loads(fetch(f"{fields['realm']}?{query}"))
    return str(answer.get("token") or answer["access_token"])
