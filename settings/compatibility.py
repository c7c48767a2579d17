"""Supported combinations of versions, each with its source, and the rules that check them.

Contains only versions that were tested with this program or that an upstream source states. Other
versions are refused until an entry is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from settings.problems import Problem

if TYPE_CHECKING:
    from settings.charts import Chart, Flux, Longhorn, MetalLB, Traefik
    from settings.groups import Cluster

Minor = tuple[int, int]


@dataclass(frozen=True)
class TalosEntry:
    """Kubernetes minor versions that a Talos minor version supports, both ends included."""

    oldest_kubernetes: Minor
    newest_kubernetes: Minor
    source: str


TALOS: dict[Minor, TalosEntry] = {
    (1, 12): TalosEntry(
        (1, 30), (1, 35), "siderolabs/talos v1.13.9 pkg/machinery/compatibility/talos112"
    ),
    (1, 13): TalosEntry(
        (1, 31), (1, 36), "siderolabs/talos v1.13.9 pkg/machinery/compatibility/talos113"
    ),
}
"""Talos minor versions for which the Talos provider 0.8.1 (Talos machinery v1.13.0) can generate
machine configs."""


@dataclass(frozen=True)
class BrokenTalos:
    """Talos releases that damage what this program deploys, both ends included."""

    oldest: tuple[int, int, int]
    newest: tuple[int, int, int]
    damage: str
    """What they do, as a sentence without its subject."""
    source: str


BROKEN_TALOS = (
    BrokenTalos(
        (1, 12, 0),
        (1, 12, 4),
        "unmounts the data disk when the kubelet restarts, under running volumes",
        "siderolabs/talos#12797, repaired in v1.12.5",
    ),
    BrokenTalos(
        (1, 13, 8),
        (1, 13, 8),
        "cannot read the iSCSI records of older versions, so after an upgrade no volume of "
        "Longhorn attaches",
        "siderolabs/talos#14000, siderolabs/extensions#1182, repaired in v1.13.9",
    ),
)
"""Talos releases that are refused although their minor version is supported."""


@dataclass(frozen=True)
class ChartEntry:
    """Supported versions of a chart: ``oldest`` and later, but lower than ``below``. These versions
    accept the chart values that this program sets."""

    oldest: tuple[int, int, int]
    below: tuple[int, int, int]
    oldest_kubernetes: Minor
    source: str


CHARTS: dict[str, ChartEntry] = {
    "longhorn": ChartEntry(
        (1, 12, 1),
        (1, 13, 0),
        (1, 25),
        "longhorn/charts 1.12.1: kubeVersion, networkPolicies.restrictInternalTraffic since 1.12.1",
    ),
    "metallb": ChartEntry(
        (0, 16, 0), (0, 17, 0), (1, 19), "metallb/metallb 0.16.0: frrk8s on by default since then"
    ),
    "traefik": ChartEntry(
        (41, 0, 0),
        (42, 0, 0),
        (1, 25),
        "traefik/traefik-helm-chart 41.0.0: log.level, ports.*.http since 39 and 41",
    ),
    "flux": ChartEntry(
        (0, 49, 0),
        (0, 50, 0),
        (1, 33),
        "controlplaneio-fluxcd/charts flux-operator 0.49.0 with Flux 2.8.7; fluxcd.io/flux/"
        "installation: Kubernetes 1.33 and later",
    ),
}
"""Supported chart versions, by settings group. Other versions have different chart values."""


@dataclass(frozen=True)
class PackageEntry:
    """The version of a provider's Python package that was tested with this program."""

    tested: str
    source: str


PACKAGES: dict[str, PackageEntry] = {
    "pulumi-proxmoxve": PackageEntry("8.3.0", "docs/verification.md; bpg v0.111.1 inside"),
    "pulumiverse-talos": PackageEntry("0.8.1", "docs/verification.md; Talos machinery v1.13.0"),
    "pulumi-kubernetes": PackageEntry("4.32.0", "docs/verification.md; Helm v3.20.2 inside"),
}
"""Provider packages by name. ``requirements.txt`` pins the same versions."""


def minor_of(text: str) -> Minor:
    """Major and minor number of a version, with or without a leading ``v``."""
    major, minor, *_ = text.lstrip("v").split(".")
    return int(major), int(minor)


def minor_text(minor: Minor) -> str:
    """The minor version as text: ``v1.13``."""
    return f"v{minor[0]}.{minor[1]}"


def talos_and_kubernetes(cluster: Cluster) -> Iterator[Problem]:
    """Talos is a supported version, and supports the Kubernetes version."""
    entry = TALOS.get(minor_of(cluster.talos))
    if entry is None:
        yield Problem(
            "cluster.talos",
            cluster.talos,
            "is not a Talos version that this program supports "
            f"({', '.join(f'{minor_text(minor)}.x' for minor in sorted(TALOS))})",
            "choose one of these; a newer Talos needs a newer version of this program",
        )
    elif not entry.oldest_kubernetes <= minor_of(cluster.kubernetes) <= entry.newest_kubernetes:
        yield Problem(
            "cluster.kubernetes",
            cluster.kubernetes,
            f"is not supported by Talos {cluster.talos} ({entry.source})",
            f"choose {minor_text(entry.oldest_kubernetes)}.x to "
            f"{minor_text(entry.newest_kubernetes)}.x",
        )
    for broken in BROKEN_TALOS:
        if broken.oldest <= _number(cluster.talos) <= broken.newest:
            yield Problem(
                "cluster.talos",
                cluster.talos,
                f"{broken.damage} ({broken.source})",
                "choose a later patch release",
            )


def _chart(name: str, chart: Chart, cluster: Cluster) -> Iterator[Problem]:
    entry = CHARTS[name]
    number = _number(chart.chart_version)
    if not entry.oldest <= number < entry.below:
        oldest, below = (".".join(map(str, end)) for end in (entry.oldest, entry.below))
        yield Problem(
            f"{name}.chart_version",
            chart.chart_version,
            f"is not a chart version that this program supports ({entry.source})",
            f"choose {oldest} or later, below {below}",
        )
    if minor_of(cluster.kubernetes) < entry.oldest_kubernetes:
        yield Problem(
            "cluster.kubernetes",
            cluster.kubernetes,
            f"is too old for the {name} chart {chart.chart_version} ({entry.source})",
            f"choose {minor_text(entry.oldest_kubernetes)}.0 or later",
        )


def charts(
    longhorn: Longhorn, metallb: MetalLB, traefik: Traefik, cluster: Cluster
) -> Iterator[Problem]:
    """Each chart is a supported version, and supports the Kubernetes version."""
    yield from _chart("longhorn", longhorn, cluster)
    yield from _chart("metallb", metallb, cluster)
    yield from _chart("traefik", traefik, cluster)


def flux_chart(flux: Flux | None, cluster: Cluster) -> Iterator[Problem]:
    """With a group ``flux``, the same for the chart of the Flux Operator."""
    if flux is not None:
        yield from _chart("flux", flux, cluster)


def packages() -> Iterator[Problem]:
    """The installed provider packages are the versions that were tested with this program."""
    for name, entry in PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found != entry.tested:
            yield Problem(
                f"requirements.txt {name}",
                found,
                f"is not the version tested with this program, {entry.tested} ({entry.source})",
                "run `pulumi install` or `make venv`",
            )


STEPS = {
    "cluster.talos": ("Talos", "v", 'docs.siderolabs.com, "Upgrading Talos Linux"'),
    "cluster.kubernetes": ("Kubernetes", "v", 'kubernetes.io, "Version Skew Policy"'),
    "longhorn.chart_version": (
        "Longhorn",
        "",
        "longhorn-manager v1.12.1 upgrade/util/util.go, checkLHUpgradePath",
    ),
}
"""What can be upgraded by at most one minor version at a time and never downgraded. By setting:
name, prefix of its versions, source."""


def upgrade_step(setting: str, old: str, new: str) -> Problem | None:
    """Return the problem if ``STEPS[setting]`` cannot change from ``old`` to ``new``, else None."""
    what, prefix, _ = STEPS[setting]
    if _number(new) < _number(old):
        return Problem(
            setting,
            new,
            f"the cluster runs {what} {old}, and {what} cannot be downgraded",
            f"write {old} or a newer version",
        )
    (old_major, old_minor), (new_major, new_minor) = minor_of(old), minor_of(new)
    if new_major != old_major or new_minor > old_minor + 1:
        return Problem(
            setting,
            new,
            f"the cluster runs {what} {old}, and an upgrade to {new} skips a minor version",
            f"write the newest {prefix}{old_major}.{old_minor + 1}.x, run `make up`, then write "
            "the next minor version",
        )
    return None


def talos_with_running_kubernetes(talos: str, kubernetes: str) -> Problem | None:
    """Return the problem if the new Talos does not support the running Kubernetes, else None.

    ``up`` upgrades Talos before Kubernetes.
    """
    entry = TALOS.get(minor_of(talos))
    if entry is None or minor_of(kubernetes) >= entry.oldest_kubernetes:
        return None
    return Problem(
        "cluster.talos",
        talos,
        f"does not support Kubernetes {kubernetes}, which the cluster runs, and `make up` upgrades "
        "Talos before Kubernetes",
        "set cluster.talos back to the running version and cluster.kubernetes to "
        f"{minor_text(entry.oldest_kubernetes)}.x, run `make up`, then set cluster.talos to "
        f"{talos}",
    )


def kubernetes_of_a_snapshot(written: str, wanted: str) -> tuple[str, str] | None:
    """Reason and fix if Kubernetes ``wanted`` cannot read etcd data of version ``written``.

    Kubernetes reads data of its own minor version and of the one before (kubernetes.io, "Version
    Skew Policy": an API server is upgraded one minor version at a time).
    """
    old, new = minor_of(written), minor_of(wanted)
    if new < old:
        reason = f"was written by Kubernetes {written}, newer than cluster.kubernetes {wanted}"
    elif new[0] != old[0] or new[1] > old[1] + 1:
        reason = f"was written by Kubernetes {written}, too old for cluster.kubernetes {wanted}"
    else:
        return None
    return reason, f"set cluster.kubernetes to {written}, and upgrade after the restore"


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.removeprefix("v").split("."))
