"""Waits for Flux: a resource that is there once a part of Flux says that it is ready.

The engine's own wait for a condition ends with "timed out" and no reason; this one ends with what
Flux said last, which is where a wrong key or branch shows. It waits when it is made and when what
it waits for changes, and never stands in the way of a preview or a removal.
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

LIMITS = {"controllers": 600, "source": 300}
"""Seconds that each part has: controllers pull their images, a repository is fetched."""
CURES = {
    "controllers": "Look at the pods of the namespace flux-system",
    "source": "Check flux.url, flux.branch and the key or token that goes with them",
}


@dataclass(frozen=True, kw_only=True)
class FluxSource:
    """What Flux follows. Its change deletes what is not in the new place: a preview says so."""

    url: str
    """Address of the repository."""
    branch: str
    """Branch that is followed."""
    path: str
    """Folder in the repository."""
    reclaim_policy: str
    """``longhorn.reclaim_policy``. Its change alone is no update."""


class FluxReady(dynamic.Resource, module=MODULE, name="FluxReady"):
    """A part of Flux that is ready."""

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
        """Wait for ``part``, a word of ``flux_health.PARTS``.

        ``wanted`` says what is waited for, as text: where it changes, it is waited for again.
        ``source`` is what Flux follows, if its change matters to this part.
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
    """Waits on create and on update. A renewed kubeconfig is not a change."""

    name = "FluxReady"
    id_input = "part"
    compared = ("part", "wanted", "source")
    ignored = ("source.reclaim_policy",)
    kept = ("part", "wanted", "source")

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until the part is ready; raises the last thing that it said."""
        wait(props)

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Wait again."""
        wait(news)

    def changed(self, olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
        """The inputs that differ. A stack of an older version of this program knows no source."""
        found = super().changed(olds, news)
        return found if olds.get("source") else [it for it in found if not it.startswith("source")]

    def describe(self, olds: dict[str, Any], news: dict[str, Any]) -> str:
        """What another source means for what runs on the cluster."""
        old, new = olds.get("source"), news.get("source")
        return source_note(old, new) if old and new else ""


_FOLLOWED = ("url", "branch", "path")


def source_note(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What Flux deletes if it follows something else; empty if it follows the same."""
    changes = [f"flux.{it}: {old[it]} → {new[it]}" for it in _FOLLOWED if old[it] != new[it]]
    if not changes:
        return ""
    policies = {old["reclaim_policy"], new["reclaim_policy"]}
    if policies == {"retain"}:
        fate = "their volumes and data stay in Longhorn, released (longhorn.reclaim_policy: retain)"
    elif policies == {"delete"}:
        fate = "Longhorn deletes their data (longhorn.reclaim_policy: delete)"
    else:
        fate = (
            f"longhorn.reclaim_policy goes from {old['reclaim_policy']} to "
            f"{new['reclaim_policy']}, but each volume keeps the policy that it was made with. "
            "`delete`: Longhorn deletes its data. `retain`: it stays in Longhorn, released"
        )
    return (
        f"{', '.join(changes)}. Flux deletes everything that it applied and that is not in the new "
        f"place, claims included. What becomes of the data of deleted claims: {fate}."
    )


def wait(props: dict[str, Any]) -> None:
    """Look again and again; raises ``TimeoutError`` when the part's time is over."""
    api, part = ClusterApi.of(props["kubeconfig"]), props["part"]

    def look() -> None:
        try:
            found = api.get(flux_health.PARTS[part])
        except ApiError as error:
            raise NotYet(str(error)) from None
        if not flux_health.is_ready(found):
            raise NotYet(flux_health.sentence(found))

    def told(missing: str) -> TimeoutError:
        return TimeoutError(
            f"{props['wanted']} after {LIMITS[part]} s: {missing}. {CURES[part]}, then run `up` "
            "again: it goes on from here."
        )

    wait_until(look, LIMITS[part], told)
