"""Waits for Flux: a resource that is there once a part of Flux says that it is ready.

The engine's own wait for a condition ends with "timed out" and no reason; this one ends with what
Flux said last, which is where a wrong key or branch shows. It waits when it is made and when what
it waits for changes, and never stands in the way of a preview or a removal.

The state names ``FluxReadyProvider`` by this module: a castle that was built before a move of it
could not be changed after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pulumi
from pulumi import dynamic

from components import flux_health
from components.cluster_api import ApiError, ClusterApi
from components.wait import NotYet, wait_until

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


class FluxReady(dynamic.Resource, module="castle", name="FluxReady"):
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


class FluxReadyProvider(dynamic.ResourceProvider):
    """Waits on create and update, and has nothing to do at any other time."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Wait until the part is ready; raises with the last that it said."""
        wait(props)
        return dynamic.CreateResult(props["part"], _kept(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Something else is to be ready; a renewed kubeconfig is nothing.

        Prints what another source means for what runs on the cluster.
        """
        old, new = olds.get("source"), news.get("source")
        if old and new and (note := source_note(old, new)):
            # The engine shows it among its diagnostics (tried with Pulumi 3.259).
            print(note, flush=True)
        return dynamic.DiffResult(changes=_compared(olds, news) != _compared(news, news))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Wait again."""
        wait(news)
        return dynamic.UpdateResult(_kept(news))


def _kept(props: dict[str, Any]) -> dict[str, Any]:
    return {key: props[key] for key in ("part", "wanted", "source") if key in props}


_FOLLOWED = ("url", "branch", "path")


def _compared(props: Mapping[str, Any], news: Mapping[str, Any]) -> list[Any]:
    """What is compared. A stack of an older version of this program knows no source."""
    source = props.get("source") or news.get("source") or {}
    return [props.get("part"), props.get("wanted"), *(source.get(key) for key in _FOLLOWED)]


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
