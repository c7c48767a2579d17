"""Waits for Flux: a resource that is there once a part of Flux says that it is ready.

The engine's own wait for a condition ends with "timed out" and no reason; this one ends with what
Flux said last, which is where a wrong key or branch shows. It waits when it is made and when what
it waits for changes, and never stands in the way of a preview or a removal.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi import dynamic

from components import flux_health
from components.cluster_api import ApiError, ClusterApi
from components.wait import NotYet, wait_until
from lifecycle.provider import MODULE, Provider

LIMITS = {"controllers": 600, "source": 300}
"""Seconds that each part has: controllers pull their images, a repository is fetched."""
CURES = {
    "controllers": "Look at the pods of the namespace flux-system",
    "source": "Check flux.url, flux.branch and the key or token that goes with them",
}


class FluxReady(dynamic.Resource, module=MODULE, name="FluxReady"):
    """A part of Flux that is ready."""

    def __init__(
        self,
        resource_name: str,
        *,
        part: str,
        wanted: str,
        kubeconfig: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Wait for ``part``, a word of ``flux_health.PARTS``.

        ``wanted`` says what is waited for, as text: where it changes, it is waited for again.
        """
        super().__init__(
            FluxReadyProvider(),
            resource_name,
            {"part": part, "wanted": wanted, "kubeconfig": pulumi.Output.secret(kubeconfig)},
            opts,
        )


class FluxReadyProvider(Provider):
    """Waits on create and on update. A renewed kubeconfig is not a change."""

    name = "FluxReady"
    id_input = "part"
    compared = ("part", "wanted")
    kept = ("part", "wanted")

    def on_create(self, props: dict[str, Any]) -> None:
        """Wait until the part is ready; raises the last thing that it said."""
        wait(props)

    def on_update(self, olds: dict[str, Any], news: dict[str, Any]) -> None:
        """Wait again."""
        wait(news)


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
