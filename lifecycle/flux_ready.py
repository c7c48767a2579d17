"""Waits until a part of Flux is ready. The error after a timeout quotes Flux's last message.

The wait of the Kubernetes provider reports only "timed out", without the message that names a wrong
key or branch. This resource waits on create and update, and never in a preview or on delete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pulumi

from clients.kubernetes import flux_health
from clients.kubernetes.api import ApiError, ClusterApi
from clients.wait import NotYet, wait_until
from lifecycle.provider import Provider, Resource

READY_TIMEOUT_S = {"controllers": 600, "source": 300}
"""Timeout in seconds by part: the controllers pull images, the source is fetched from Git."""
FIXES = {
    "controllers": "Check the pods in the namespace flux-system",
    "source": "Check flux.url, flux.branch and the key or token that goes with them",
}


@dataclass(frozen=True, kw_only=True)
class FluxSource:
    """The Git source that Flux applies. If it changes, Flux deletes what the new source lacks."""

    url: str
    """URL of the repository."""
    branch: str
    """Git branch."""
    path: str
    """Folder in the repository."""
    reclaim_policy: str
    """``longhorn.reclaim_policy``, for the message. Its change alone is no update."""


@dataclass(frozen=True, kw_only=True)
class FluxReadyArgs:
    """Arguments of ``FluxReady``."""

    part: str
    """The awaited part, a key of ``READY_TIMEOUT_S``."""
    wanted: str
    """The beginning of the error message. If it changes, the resource waits again."""
    kubeconfig: pulumi.Input[str]
    """Kubeconfig; becomes a secret."""
    source: FluxSource | None = None
    """Set for the part ``source``, whose preview describes a change."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        return {
            "part": self.part,
            "wanted": self.wanted,
            **({"source": asdict(self.source)} if self.source else {}),
            "kubeconfig": pulumi.Output.secret(self.kubeconfig),
        }


@dataclass(frozen=True, kw_only=True)
class FluxReadyInputs:
    """What the provider gets."""

    part: str
    wanted: str
    kubeconfig: str
    source: FluxSource | None = None


class FluxReady(Resource[FluxReadyArgs]):
    """A part of Flux that is ready: the controllers or the source."""


class FluxReadyProvider(Provider[FluxReadyInputs]):
    """create and update: wait; delete: nothing. A renewed kubeconfig is no update."""

    name = "FluxReady"
    inputs = FluxReadyInputs
    id_input = "part"
    compared = ("part", "wanted", "source")
    ignored = ("source.reclaim_policy",)
    stored = ("part", "wanted", "source")

    def on_create(self, inputs: FluxReadyInputs) -> None:
        """Wait until the part is ready. Raises ``TimeoutError`` with its last message."""
        wait(inputs)

    def on_update(
        self, olds: FluxReadyInputs, news: FluxReadyInputs, changed: Sequence[str]
    ) -> None:
        """Wait again."""
        wait(news)

    def describe(self, olds: FluxReadyInputs, news: FluxReadyInputs) -> str:
        """The message of a preview if the source changes."""
        return source_note(olds.source, news.source) if olds.source and news.source else ""


def source_note(old: FluxSource, new: FluxSource) -> str:
    """A message about what Flux deletes if the source changes; empty if it does not change."""
    values = {
        "flux.url": (old.url, new.url),
        "flux.branch": (old.branch, new.branch),
        "flux.path": (old.path, new.path),
    }
    changes = [f"{name}: {was} → {will}" for name, (was, will) in values.items() if was != will]
    if not changes:
        return ""
    policies = {old.reclaim_policy, new.reclaim_policy}
    if policies == {"retain"}:
        effect = (
            "their volumes and data stay in Longhorn, released (longhorn.reclaim_policy: retain)"
        )
    elif policies == {"delete"}:
        effect = "Longhorn deletes their data (longhorn.reclaim_policy: delete)"
    else:
        effect = (
            f"longhorn.reclaim_policy changes from {old.reclaim_policy} to "
            f"{new.reclaim_policy}, but each volume has the policy with which it was created. "
            "`delete`: Longhorn deletes its data. `retain`: it stays in Longhorn, released"
        )
    return (
        f"{', '.join(changes)}. Flux deletes everything that it applied and that is not in the new "
        f"source, including persistent volume claims. Data of deleted claims: {effect}."
    )


def wait(inputs: FluxReadyInputs) -> None:
    """Wait until the part is ready.

    Raises ``TimeoutError`` with Flux's last message after ``READY_TIMEOUT_S``.
    """
    api, part = ClusterApi.of(inputs.kubeconfig), inputs.part

    def check() -> None:
        try:
            found = api.get(flux_health.PARTS[part])
        except ApiError as error:
            raise NotYet(str(error)) from None
        if not flux_health.is_ready(found):
            raise NotYet(flux_health.sentence(found))

    def timeout_error(last_message: str) -> TimeoutError:
        return TimeoutError(
            f"{inputs.wanted} after {READY_TIMEOUT_S[part]} s: {last_message}. {FIXES[part]}, "
            "then run `up` again: it continues from here."
        )

    wait_until(check, READY_TIMEOUT_S[part], timeout_error)
