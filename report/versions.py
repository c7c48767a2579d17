"""Versions, and which newer ones fit together: the settings' own table, told as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version as installed

from report import model
from settings.charts import Chart
from settings.compatibility import CHARTS, PACKAGES, TALOS, Minor, minor_of, minor_text
from settings.models import Settings

ENGINE = "pulumi"
"""The Python SDK: the CLI has the same number."""


def of(settings: Settings) -> tuple[model.Version, ...]:
    """Everything that has a version in a castle, the cluster first."""
    return (
        _talos(settings),
        _kubernetes(settings),
        *_charts(settings),
        *_packages(),
    )


def _talos(settings: Settings) -> model.Version:
    talos, kubernetes = settings.cluster.talos, settings.cluster.kubernetes
    own = minor_of(talos)
    fitting = [
        minor
        for minor, entry in TALOS.items()
        if entry.oldest_kubernetes <= minor_of(kubernetes) <= entry.newest_kubernetes
    ]
    later = sorted(minor for minor in TALOS if minor > own)
    if not later:
        newer = f"{minor_text(own)}.x is the newest that the talos provider knows."
    elif later[0] in fitting:
        newer = f"{minor_text(later[0])}.x fits too, with Kubernetes {kubernetes} as it is."
    else:
        oldest = minor_text(TALOS[later[0]].oldest_kubernetes)
        newer = f"{minor_text(later[0])}.x needs Kubernetes {oldest} or later first."
    return model.Version(
        name="Talos",
        version=talos,
        fits=_run(fitting),
        newer=newer,
        source=TALOS[own].source,
    )


def _kubernetes(settings: Settings) -> model.Version:
    talos, kubernetes = settings.cluster.talos, settings.cluster.kubernetes
    entry = TALOS[minor_of(talos)]
    own = minor_of(kubernetes)
    if own < entry.newest_kubernetes:
        newer = (
            f"One minor at a time up to {minor_text(entry.newest_kubernetes)}.x, Talos as it is."
        )
    elif beyond := [minor for minor, one in TALOS.items() if one.newest_kubernetes > own]:
        newer = f"Beyond {minor_text(own)}.x it needs Talos {minor_text(min(beyond))}.x first."
    else:
        newer = f"{minor_text(own)}.x is the newest that Talos {talos} supports."
    return model.Version(
        name="Kubernetes",
        version=kubernetes,
        fits=_run([entry.oldest_kubernetes, entry.newest_kubernetes]),
        newer=newer,
        source=entry.source,
    )


def _run(minors: list[Minor]) -> str:
    oldest, newest = f"{minor_text(min(minors))}.x", f"{minor_text(max(minors))}.x"
    return oldest if oldest == newest else f"{oldest} to {newest}"


def _charts(settings: Settings) -> Iterator[model.Version]:
    for name, entry in CHARTS.items():
        chart = getattr(settings, name, None)
        if not isinstance(chart, Chart):
            continue  # not part of this castle
        oldest, below = (".".join(map(str, end)) for end in (entry.oldest, entry.below))
        yield model.Version(
            name=f"{name} chart",
            version=chart.chart_version,
            fits=f"{oldest} or later, below {below}",
            newer=f"From {below} on its values have not been tried yet.",
            source=entry.source,
        )


def _packages() -> Iterator[model.Version]:
    for name, entry in PACKAGES.items():
        yield model.Version(
            name=name,
            version=installed(name),
            fits=entry.tested,
            newer="Comes with a newer castle: requirements.txt pins it.",
            source=entry.source,
        )
    yield model.Version(
        name=ENGINE,
        version=installed(ENGINE),
        fits=installed(ENGINE),
        newer="Comes with a newer castle: requirements.txt pins it.",
        source="requirements.txt",
    )
