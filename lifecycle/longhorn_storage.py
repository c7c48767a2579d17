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
from pulumi import dynamic

from clients.errors import OperationError
from clients.kubernetes.api import ApiError
from clients.kubernetes.longhorn import STORAGE_CLASS
from clients.kubernetes.patient_api import PatientApi
from lifecycle.operations import longhorn
from lifecycle.operations.diagnostics import report
from lifecycle.provider import MODULE, Provider
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


class LonghornStorage(dynamic.Resource, module=MODULE, name="LonghornStorage"):
    """Storage that is ready for claims. Depend on it before claiming a volume."""

    replicas: pulumi.Output[int]
    """Copies that the volumes of ``claims`` have."""
    chart_version: pulumi.Output[str]
    """Version of Longhorn that was checked last."""

    def __init__(
        self, name: str, args: LonghornStorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        inputs = {
            "data_disks": dict(args.data_disks),
            "other_nodes": list(args.other_nodes),
            "replicas": args.replicas,
            "claims": list(args.claims),
            "chart_version": args.chart_version,
            "rebuild_s": args.rebuild_s,
            "restored": args.restored,
            "kubeconfig": pulumi.Output.secret(args.kubeconfig),
        }
        super().__init__(LonghornStorageProvider(), name, inputs, opts)


class LonghornStorageProvider(Provider):
    """create: wait for the disks; update: apply the changed settings; delete: nothing."""

    name = "LonghornStorage"
    compared = ("data_disks", "replicas", "claims", "chart_version")
    stored = compared

    def id_of(self, props: Mapping[str, Any]) -> str:
        """A constant: a cluster has one of these resources."""
        return "longhorn"

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until all disks are correct. Raises ``OperationError``.

        In a restored cluster, problems are only printed: Longhorn rejects an empty disk in place of
        an old one, and a person must decide about the volumes that were on the old disk.
        """
        restored = bool(props.get("restored"))
        try:
            longhorn.wait_for_disks(
                PatientApi.of(props["kubeconfig"]),
                props["data_disks"],
                props["other_nodes"],
                RESTORED if restored else NOTHING_STORED,
                timeout_s=RESTORED_TIMEOUT_S if restored else longhorn.READY_TIMEOUT_S,
            )
        except OperationError as error:
            if not restored:
                raise
            report(str(error))

    def describe(self, olds: dict[str, Any], news: dict[str, Any]) -> str:
        """The message of a preview if the number of copies changes."""
        if olds["replicas"] == news["replicas"]:
            return ""
        return replicas_note(olds["replicas"], news["replicas"], news["claims"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Check new or larger disks, set copies and wait for engines. Raises ``OperationError``."""
        api = PatientApi.of(news["kubeconfig"])
        # Only new and changed disks, so that a node that is down does not block a new node.
        changed = dict(news["data_disks"].items() - olds["data_disks"].items())
        if changed:
            longhorn.wait_for_disks(
                api,
                changed,
                news["other_nodes"],
                f"Longhorn may have stored copies on these disks already. {CONTINUE}",
                old_sizes=olds["data_disks"],
            )
        if olds["replicas"] != news["replicas"]:
            longhorn.set_copies_of_claims(
                api, news["claims"], news["replicas"], float(news["rebuild_s"])
            )
            _report_others(api, news["replicas"], news["claims"])
        if olds["chart_version"] != news["chart_version"]:
            longhorn.wait_for_engines(api, news["chart_version"])


def replicas_note(old: int, new: int, claims: Sequence[str]) -> str:
    """A message about the effect of another number of copies."""
    note = (
        f"longhorn.replicas: {old} → {new}. This `up` gives {', '.join(claims)} "
        f"{count(new, 'copy', 'copies')} instead of {old}. New volumes get {new}. All other "
        "volumes keep their number until `make replicas`."
    )
    return f"{note} Longhorn deletes the surplus copies." if new < old else note


def _report_others(api: PatientApi, replicas: int, claims: Sequence[str]) -> None:
    try:
        others = longhorn.volumes_with_other_copies(api, replicas, without=claims)
    except ApiError:
        return  # the message is only a hint
    if others:
        shown = ", ".join(f"{volume.title} ({volume.copies})" for volume in others)
        report(
            f"Volumes of storage class {STORAGE_CLASS} with another number of copies than "
            f"{replicas}: {shown}. `make replicas` sets them to {replicas}."
        )
