"""One step of the stand-in for longhorn-manager."""

from __future__ import annotations

from collections.abc import Sequence

from ...talos.hand import Hand
from ...talos.machine import Machine
from ..client import KubernetesClient
from . import backups, engines, node_down, nodes, volumes
from .objects import ALL
from .view import View


async def keep(client: KubernetesClient, machines: Sequence[Machine], hand: Hand) -> None:
    """Bring all that is Longhorn's one step on; nothing while no manager runs."""
    if await client.get(f"{ALL}/nodes") is None:
        return  # no Longhorn, or not yet
    view = await View.read(client, machines, hand)
    if not view.is_managed:
        return
    await nodes.keep(client, view)
    image = await engines.keep(client, view)
    await volumes.keep(client, view, image)
    await backups.keep(client, view)
    await node_down.release_pods(client, view)
