"""Longhorn's disks, checked before anything stores data, and the copies of the stack's own volumes.

One resource for the cluster. It is created after Longhorn's release and before the first claim, so
that no data of this stack is ever written to an OS disk. It is updated if

- a storage node is new, or its data disk larger: the disk is checked;
- ``longhorn.replicas`` changes: the volumes of the stack's own claims get that many copies. Volumes
  of other claims belong to whoever made them, and ``make replicas`` changes those;
- Longhorn's version changes: the engines of all volumes must follow.

A run that was killed leaves the old inputs in the state: the next run repeats the step.
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
"""Seconds that a restored cluster is given: its disks either match what Longhorn knows, or not."""
GO_ON = "Then run `up` again: it continues from here."
NOTHING_STORED = (
    "This stack has stored nothing in Longhorn yet: it makes its first claim after this check. "
    f"{GO_ON}"
)
RESTORED = (
    "The cluster is restored: see docs/day-two.md. This `up` continues. `make doctor` shows "
    "what is left of this."
)


@dataclass(frozen=True, kw_only=True)
class LonghornStorageArgs:
    """The disks that Longhorn must store on, and the copies that it must keep."""

    data_disks: Mapping[str, int]
    """Size of the data disk in GiB, by the name of the Kubernetes node. Only storage nodes."""
    other_nodes: Sequence[str]
    """Nodes without a data disk: Longhorn must have no disk there. Their change is no update."""
    replicas: int
    """Copies of each volume."""
    claims: Sequence[str]
    """Claims that the stack makes itself, ``NAMESPACE/NAME``."""
    chart_version: str
    """Version of Longhorn."""
    rebuild_s: int
    """Seconds that Longhorn has to rebuild copies."""
    restored: bool
    """Whether the cluster is restored from a snapshot: Longhorn may know disks that are gone."""
    kubeconfig: pulumi.Input[str]
    """Access to the cluster; becomes a secret. Its renewal is no update."""


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
    """Waits on create, follows the settings on update, and does nothing on delete."""

    name = "LonghornStorage"
    compared = ("data_disks", "replicas", "claims", "chart_version")
    kept = compared

    def id_of(self, props: Mapping[str, Any]) -> str:
        """There is one for each cluster."""
        return "longhorn"

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until all disks are right. Raises ``OperationError``.

        In a restored cluster what is left is only printed: Longhorn refuses a blank disk in the
        place of one that it knows, and a person decides about the volumes that were on it.
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
        """What another number of copies does."""
        if olds["replicas"] == news["replicas"]:
            return ""
        return replicas_note(olds["replicas"], news["replicas"], news["claims"])

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Do what the changes ask for. Raises ``OperationError``."""
        api = PatientApi.of(news["kubeconfig"])
        # Only new and changed disks: an old node that is down must not hold up its replacement.
        changed = dict(news["data_disks"].items() - olds["data_disks"].items())
        if changed:
            longhorn.wait_for_disks(
                api,
                changed,
                news["other_nodes"],
                f"Longhorn may have stored copies on these disks already. {GO_ON}",
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
    """What a change of the number of copies does, in sentences."""
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
        return  # it is only a hint
    if others:
        shown = ", ".join(f"{volume.title} ({volume.copies})" for volume in others)
        report(
            f"Volumes of storage class {STORAGE_CLASS} that keep another number of copies than "
            f"{replicas}: {shown}. `make replicas` sets them to {replicas}."
        )
