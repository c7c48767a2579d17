"""Checks of the Helm charts: each repository has the pinned version and serves its archive."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from doctor import web
from doctor.context import Check, Context
from doctor.findings import Finding, failure, ok, warning
from doctor.probes import Fetch
from settings.chart_source import ChartSource

_MANIFESTS = "application/vnd.oci.image.manifest.v1+json"
_CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_GONE = (404, 410)
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
    """Check that the pinned version exists and can be downloaded.

    ``group`` is the chart's group in the stack file.
    """
    subject = f"{chart.name} {chart.version}"
    if "://" not in chart.repository:
        yield _in_folder(chart, group, subject)
        return
    locate = _locate_in_registry if _is_oci(chart) else _locate_in_index
    try:
        archive = locate(chart, fetch)
        gone = None if archive is None else _read_first_byte(archive, fetch)
    except (*web.FETCH_ERRORS, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        yield download_problem(
            subject,
            f"cannot be found, because {chart.repository} cannot be read: {web.reason(error)}",
            f"check {group}.chart_repository, and this machine's internet access",
        )
        return
    fix = f"set {group}.chart_version to a version that the repository has"
    if archive is None:
        yield failure(subject, f"is not in {chart.repository}", fix)
    elif gone is None:
        yield ok(subject, f"is in {chart.repository}")
    elif gone.code in _GONE:
        text = f"is listed in {chart.repository}, but its archive is gone: {archive.url} answers"
        yield failure(subject, f"{text} {gone.code}", fix)
    else:
        yield download_problem(
            subject,
            f"cannot be downloaded: {archive.url} answers {gone.code} {gone.reason}",
            "check this machine's internet access, and run `make doctor` again later",
        )


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


@dataclass(frozen=True)
class _Archive:
    """The address of a chart's archive."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


def _read_first_byte(archive: _Archive, fetch: Fetch) -> urllib.error.HTTPError | None:
    """Read one byte of an archive; returns the refusal of the server, if any.

    A HEAD request would be shorter, but some servers of archives (signed addresses) refuse it.
    """
    try:
        fetch(archive.url, {**archive.headers, "Range": "bytes=0-0"})
    except urllib.error.HTTPError as error:
        error.close()
        return error
    return None


def _locate_in_index(chart: ChartSource, fetch: Fetch) -> _Archive | None:
    """Find the archive in the index of a repository; None if the version is not in it."""
    base = f"{chart.repository.rstrip('/')}/"
    entries = yaml.load(fetch(f"{base}index.yaml"), Loader=_Loader)["entries"].get(chart.name, [])
    # Helm ignores a leading v of a version.
    versions = {str(entry["version"]).removeprefix("v"): entry for entry in entries}
    if chart.version not in versions:
        return None
    return _Archive(urllib.parse.urljoin(base, str(versions[chart.version]["urls"][0])))


def _locate_in_registry(chart: ChartSource, fetch: Fetch) -> _Archive | None:
    """Find the archive in a registry (OCI distribution specification); None if the version, which
    is a tag there, does not exist."""
    parts = urllib.parse.urlsplit(f"{chart.repository.rstrip('/')}/{chart.name}")
    base = f"https://{parts.netloc}/v2{parts.path}"
    manifest = f"{base}/manifests/{chart.version}"
    headers: dict[str, str] = {}
    try:
        try:
            answer = fetch(manifest, {"Accept": _MANIFESTS})
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            error.close()
            token = _get_anonymous_token(error.headers.get("WWW-Authenticate", ""), fetch)
            headers = {"Authorization": f"Bearer {token}"}
            answer = fetch(manifest, {"Accept": _MANIFESTS, **headers})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        error.close()
        return None
    layers = json.loads(answer)["layers"]
    by_type = {layer["mediaType"]: layer["digest"] for layer in layers}
    return _Archive(f"{base}/blobs/{by_type[_CHART_LAYER]}", headers)


def _get_anonymous_token(challenge: str, fetch: Fetch) -> str:
    """Get the anonymous token that public registries require.

    ``challenge`` is the header ``WWW-Authenticate`` of the registry's answer.
    """
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({k: v for k, v in fields.items() if k in ("service", "scope")})
    answer = json.loads(fetch(f"{fields['realm']}?{query}"))
    return str(answer.get("token") or answer["access_token"])
