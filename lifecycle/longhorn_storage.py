"""Checks Longhorn's disks before the first claim; sets the number of copies of the stack's volumes.

One resource for the cluster. It is created after Longhorn's release and before the first claim, so
that no data of this stack is ever written to an OS disk. It is updated if

- a storage node is new, or its data disk is larger: the disk is checked;
- ``longhorn.replicas`` changes: the volumes of the stack's own claims get that many copies.
  ``make replicas`` changes all other volumes;
- Longhorn's version changes: the engines of all volumes must be upgraded.

If a run is killed, the state has the old inputs, and the next run repeats the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from clients.errors import OperationError
from clients.kubernetes.api import KubernetesError, RetryingApi
from clients.kubernetes.longhorn import STORAGE_CLASS
from lifecycle.operations import longhorn, report
from lifecycle.provider import Provider, Resource
from settings.wording import count

RESTORED_TIMEOUT_S = 60
"""Timeout in seconds for the disks of a restored cluster: more time does not help, because a new
disk never matches the one that Longhorn has in its restored objects."""
CONTINUE = "Then run `up` again: it continues from here."
NOTHING_STORED = (
    "This stack has stored nothing in Longhorn yet: it creates its first claim after this check. "
    f"{CONTINUE}"
)
RESTORED = (
    "The cluster is restored: see docs/day-two.md. This `up` continues. `make doctor` shows "
    "which of these problems remain."
)


@dataclass(frozen=True, kw_only=True)
class LonghornStorageArgs:
    """The disks that Longhorn must use, and the number of copies of each volume."""

    data_disks: Mapping[str, int]
    """Size of the data disk in GiB, by name of the storage node."""
    other_nodes: Sequence[str]
    """Nodes without a data disk: Longhorn must have no disk there. A change is no update."""
    replicas: int
    """Copies of each volume."""
    claims: Sequence[str]
    """Claims that the program creates, ``NAMESPACE/NAME``."""
    chart_version: str
    """Version of Longhorn."""
    rebuild_s: int
    """Seconds that Longhorn has to rebuild copies."""
    restored: bool
    """Whether the cluster is restored from a snapshot: Longhorn may list disks that
    no longer exist."""
    kubeconfig: pulumi.Input[str]
    """Kubeconfig; becomes a secret. Its renewal is no update."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "data_disks": dict(self.data_disks),
            "other_nodes": list(self.other_nodes),
            "replicas": self.replicas,
            "claims": list(self.claims),
            "chart_version": self.chart_version,
            "rebuild_s": self.rebuild_s,
            "restored": self.restored,
            "kubeconfig": pulumi.Output.secret(self.kubeconfig),
        }


@dataclass(frozen=True, kw_only=True)
class LonghornStorageInputs:
    """What the provider gets."""

    data_disks: Mapping[str, int]
    other_nodes: Sequence[str]
    replicas: int
    claims: Sequence[str]
    chart_version: str
    rebuild_s: int
    restored: bool
    kubeconfig: str


class LonghornStorage(Resource[LonghornStorageArgs]):
    """Storage that is ready for claims. Depend on it before claiming a volume."""

    replicas: pulumi.Output[int]
    """Copies that the volumes of ``claims`` have."""
    chart_version: pulumi.Output[str]
    """Version of Longhorn that was checked last."""


class LonghornStorageProvider(Provider[LonghornStorageInputs]):
    """create: wait for the disks; update: apply the changed settings; delete: nothing."""

    name = "LonghornStorage"
    inputs = LonghornStorageInputs
    compared = ("data_disks", "replicas", "claims", "chart_version")
    stored = compared

    def id_of(self, inputs: LonghornStorageInputs) -> str:
        """A constant: a cluster has one of these resources."""
        return "longhorn"

    def on_create(self, inputs: LonghornStorageInputs) -> None:
        """Wait until all disks are correct. Raises ``OperationError``.

        In a restored cluster, problems are only printed: Longhorn rejects an empty disk in place of
        an old one, and a person must decide about the volumes that were on the old disk.
        """
        try:
            longhorn.wait_for_disks(
                RetryingApi.of(inputs.kubeconfig),
                inputs.data_disks,
                inputs.other_nodes,
                RESTORED if inputs.restored else NOTHING_STORED,
                timeout_s=RESTORED_TIMEOUT_S if inputs.restored else longhorn.READY_TIMEOUT_S,
            )
        except OperationError as error:
            if not inputs.restored:
                raise
            report(str(error))

    def describe(self, olds: LonghornStorageInputs, news: LonghornStorageInputs) -> str:
        """The message of a preview if the number of copies changes."""
        if olds.replicas == news.replicas:
            return ""
        return replicas_note(olds.replicas, news.replicas, news.claims)

    def on_update(
        self, olds: LonghornStorageInputs, news: LonghornStorageInputs, changed: Sequence[str]
    ) -> None:
        """Check new or larger disks, set copies and wait for engines. Raises ``OperationError``."""
        api = RetryingApi.of(news.kubeconfig)
        # Only new and changed disks, so that a node that is down does not block a new node.
        disks = dict(news.data_disks.items() - olds.data_disks.items())
        if disks:
            longhorn.wait_for_disks(
                api,
                disks,
                news.other_nodes,
                f"Longhorn may have stored copies on these disks already. {CONTINUE}",
                old_sizes=olds.data_disks,
            )
        if "replicas" in changed:
            longhorn.set_copies_of_claims(api, news.claims, news.replicas, news.rebuild_s)
            _report_others(api, news.replicas, news.claims)
        if "chart_version" in changed:
            longhorn.wait_for_engines(api, news.chart_version)


def replicas_note(old: int, new: int, claims: Sequence[str]) -> str:
    """A message about the effect of another number of copies."""
    note = (
        f"longhorn.replicas: {old} → {new}. This `up` gives {', '.join(claims)} "
        f"{count(new, 'copy', 'copies')} instead of {old}. New volumes get {new}. All other "
        "volumes keep their number until `make replicas`."
    )
    return f"{note} Longhorn deletes the surplus copies." if new < old else note


def _report_others(api: RetryingApi, replicas: int, claims: Sequence[str]) -> None:
    try:
        others = longhorn.volumes_with_other_copies(api, replicas, without=claims)
    except KubernetesError:
        return  # the message is only a hint
    if others:
        shown = ", ".join(f"{volume.title} ({volume.copies})" for volume in others)
        report(
            f"Volumes of storage class {STORAGE_CLASS} with another number of copies than "
            f"{replicas}: {shown}. `make replicas` sets them to {replicas}."
        )
