"""Waits until a part of Flux is ready. The error after a timeout quotes Flux's last message.

The wait of the Kubernetes provider reports only "timed out", without the message that names a wrong
key or branch. This resource waits on create and update, and never in a preview or on delete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pulumi
from pulumi import dynamic

from clients.kubernetes import flux_health
from clients.kubernetes.api import ApiError, ClusterApi
from clients.wait import NotYet, wait_until
from lifecycle.provider import MODULE, Provider

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


class FluxReady(dynamic.Resource, module=MODULE, name="FluxReady"):
    """A part of Flux that is ready: the controllers or the source."""

    def __init__(
        self,
        resource_name: str,
        *,
        part: str,
        wanted: str,
        kubeconfig: pulumi.Input[str],
        source: FluxSource | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Wait for ``part``, a key of ``READY_TIMEOUT_S``.

        ``wanted`` is the awaited condition, as the beginning of the error message. If it changes,
        the resource waits again. ``source`` is set for the part ``source``, whose preview describes
        a change. ``kubeconfig`` becomes a secret.
        """
        super().__init__(
            FluxReadyProvider(),
            resource_name,
            {
                "part": part,
                "wanted": wanted,
                **({"source": asdict(source)} if source else {}),
                "kubeconfig": pulumi.Output.secret(kubeconfig),
            },
            opts,
        )


class FluxReadyProvider(Provider):
    """create and update: wait; delete: nothing. A renewed kubeconfig is no update."""

    name = "FluxReady"
    id_input = "part"
    compared = ("part", "wanted", "source")
    ignored = ("source.reclaim_policy",)
    stored = ("part", "wanted", "source")

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until the part is ready. Raises ``TimeoutError`` with its last message."""
        wait(props)

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Wait again."""
        wait(news)

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The inputs that differ. Ignores ``source`` if an older program wrote the state without
        it."""
        found = super().changed(olds, news)
        return found if olds.get("source") else [it for it in found if not it.startswith("source")]

    def describe(self, olds: dict[str, Any], news: dict[str, Any]) -> str:
        """The message of a preview if the source changes."""
        old, new = olds.get("source"), news.get("source")
        return source_note(old, new) if old and new else ""


_SOURCE_KEYS = ("url", "branch", "path")


def source_note(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A message about what Flux deletes if the source changes; empty if it does not change."""
    changes = [f"flux.{it}: {old[it]} → {new[it]}" for it in _SOURCE_KEYS if old[it] != new[it]]
    if not changes:
        return ""
    policies = {old["reclaim_policy"], new["reclaim_policy"]}
    if policies == {"retain"}:
        effect = (
            "their volumes and data stay in Longhorn, released (longhorn.reclaim_policy: retain)"
        )
    elif policies == {"delete"}:
        effect = "Longhorn deletes their data (longhorn.reclaim_policy: delete)"
    else:
        effect = (
            f"longhorn.reclaim_policy changes from {old['reclaim_policy']} to "
            f"{new['reclaim_policy']}, but each volume has the policy with which it was created. "
            "`delete`: Longhorn deletes its data. `retain`: it stays in Longhorn, released"
        )
    return (
        f"{', '.join(changes)}. Flux deletes everything that it applied and that is not in the new "
        f"source, including persistent volume claims. Data of deleted claims: {effect}."
    )


def wait(props: dict[str, Any]) -> None:
    """Wait until the part is ready. ``props`` are the inputs of ``FluxReady``.

    Raises ``TimeoutError`` with Flux's last message after ``READY_TIMEOUT_S``.
    """
    api, part = ClusterApi.of(props["kubeconfig"]), props["part"]

    def check() -> None:
        try:
            found = api.get(flux_health.PARTS[part])
        except ApiError as error:
            raise NotYet(str(error)) from None
        if not flux_health.is_ready(found):
            raise NotYet(flux_health.sentence(found))

    def timeout_error(last_message: str) -> TimeoutError:
        return TimeoutError(
            f"{props['wanted']} after {READY_TIMEOUT_S[part]} s: {last_message}. {FIXES[part]}, "
            "then run `up` again: it continues from here."
        )

    wait_until(check, READY_TIMEOUT_S[part], timeout_error)
