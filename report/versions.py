"""Versions, and newer versions that fit together, according to ``settings/compatibility.py``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version as installed

from report import model
from settings.charts import Chart
from settings.compatibility import CHARTS, PACKAGES, TALOS, Minor, minor_of, minor_text
from settings.models import Settings

PULUMI_SDK = "pulumi"
"""The Python package. The Pulumi CLI has the same version."""
_PINNED = "requirements.txt pins it; a newer Ephemeral Castle may pin a newer version."


def list_versions(settings: Settings) -> tuple[model.Version, ...]:
    """List the versions of Talos, Kubernetes, charts and Python packages."""
    return (
        _talos_version(settings),
        _kubernetes_version(settings),
        *_chart_versions(settings),
        *_package_versions(),
    )


def _talos_version(settings: Settings) -> model.Version:
    talos, kubernetes = settings.cluster.talos, settings.cluster.kubernetes
    own = minor_of(talos)
    fitting = [
        minor
        for minor, entry in TALOS.items()
        if entry.oldest_kubernetes <= minor_of(kubernetes) <= entry.newest_kubernetes
    ]
    later = sorted(minor for minor in TALOS if minor > own)
    if not later:
        newer = f"{minor_text(own)}.x is the newest version that the Talos provider supports."
    elif later[0] in fitting:
        newer = f"{minor_text(later[0])}.x also fits Kubernetes {kubernetes}."
    else:
        oldest = minor_text(TALOS[later[0]].oldest_kubernetes)
        newer = f"{minor_text(later[0])}.x needs Kubernetes {oldest} or newer first."
    return model.Version(
        name="Talos",
        version=talos,
        fits=_format_range(fitting),
        newer=newer,
        source=TALOS[own].source,
    )


def _kubernetes_version(settings: Settings) -> model.Version:
    talos, kubernetes = settings.cluster.talos, settings.cluster.kubernetes
    entry = TALOS[minor_of(talos)]
    own = minor_of(kubernetes)
    if own < entry.newest_kubernetes:
        newer = (
            f"Talos {talos} supports up to {minor_text(entry.newest_kubernetes)}.x: upgrade one "
            "minor version at a time."
        )
    elif suitable := [minor for minor, it in TALOS.items() if it.newest_kubernetes > own]:
        newer = f"Newer than {minor_text(own)}.x needs Talos {minor_text(min(suitable))}.x first."
    else:
        newer = f"{minor_text(own)}.x is the newest version that Talos {talos} supports."
    return model.Version(
        name="Kubernetes",
        version=kubernetes,
        fits=_format_range([entry.oldest_kubernetes, entry.newest_kubernetes]),
        newer=newer,
        source=entry.source,
    )


def _format_range(minors: list[Minor]) -> str:
    oldest, newest = f"{minor_text(min(minors))}.x", f"{minor_text(max(minors))}.x"
    return oldest if oldest == newest else f"{oldest} to {newest}"


def _chart_versions(settings: Settings) -> Iterator[model.Version]:
    for name, entry in CHARTS.items():
        chart = getattr(settings, name, None)
        if not isinstance(chart, Chart):
            continue  # The stack file has no such group.
        oldest, below = (".".join(map(str, end)) for end in (entry.oldest, entry.below))
        yield model.Version(
            name=f"{name} chart",
            version=chart.chart_version,
            fits=f"{oldest} or newer, older than {below}",
            newer=f"The chart values are not tested with {below} or newer.",
            source=entry.source,
        )


def _package_versions() -> Iterator[model.Version]:
    for name, entry in PACKAGES.items():
        yield model.Version(
            name=name,
            version=installed(name),
            fits=entry.tested,
            newer=_PINNED,
            source=entry.source,
        )
    yield model.Version(
        name=PULUMI_SDK,
        version=installed(PULUMI_SDK),
        fits=installed(PULUMI_SDK),
        newer=_PINNED,
        source="requirements.txt",
    )
