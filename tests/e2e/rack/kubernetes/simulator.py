"""Keeps a Kubernetes control plane for each cluster that should have one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from ..talos.cluster import LiveCluster
from ..talos.simulator import TalosSimulator
from . import flux_programs, kubelets, load_balancer, static_pods
from .control_plane import ControlPlane
from .flux import FluxStandIn
from .flux_programs import FluxPrograms
from .longhorn import manager, provisioner
from .programs import Programs
from .webhook import MetallbWebhook

_INTERVAL = 0.5
"""Seconds between two looks at what the stand-ins have to do."""
_REST, _LONGEST_REST = 5, 2.5
"""After a look the rack rests so many times as long as the look took, up to so many seconds: with
100 nodes it would otherwise keep one core busy, beside the program that is measured."""
_PAUSE = 1.0
"""Seconds to wait after a failure."""
_LOG = logging.getLogger(__name__)


class KubernetesSimulator:
    """Follows the Talos machines: a cluster's API is there while its etcd has a majority."""

    def __init__(self, programs: Programs, talos: TalosSimulator, directory: Path) -> None:
        self.webhook_delay = 1.0
        """Seconds from MetalLB's controller being ready to its webhook being served."""
        self._programs = programs
        self._talos = talos
        self._directory = directory
        self._planes: dict[str, ControlPlane] = {}
        self._webhooks: dict[str, MetallbWebhook] = {}
        self._flux: dict[str, FluxStandIn | FluxPrograms] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stops = False
        talos.on_change = self._changed.set

    def start(self) -> None:
        """Begin to follow."""
        self._stops = False
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following, and stop all programs."""
        # Python 3.11's wait_for loses a cancellation at the end of the wait (python/cpython#86296).
        # A second one would interrupt the stopping of a control plane, whose programs would stay.
        self._stops = True
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        for cluster_id in list(self._planes):
            await self._switch_off(cluster_id)

    async def _follow(self) -> None:
        while not self._stops:
            self._changed.clear()
            begin = time.monotonic()
            try:
                await self._reconcile()
            except Exception as error:  # tried again; nothing may end the simulation
                _LOG.warning("%s: %s", type(error).__name__, error)
                await asyncio.sleep(_PAUSE)
            spent = time.monotonic() - begin
            rest = max(_INTERVAL, min(_REST * spent, _LONGEST_REST))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), rest)

    async def _reconcile(self) -> None:
        live = {cluster.id: cluster for cluster in self._talos.live_clusters()}
        for cluster_id in self._planes.keys() - live.keys():
            await self._switch_off(cluster_id)
        for cluster in live.values():
            if cluster.id not in self._planes:
                await self._switch_on(cluster)
            plane = self._planes[cluster.id]
            plane.check()
            await kubelets.report(plane.client, cluster.machines)
            await static_pods.mirror(plane.client, cluster.machines, self._talos.hand)
            await load_balancer.assign_addresses(plane.client)
            await provisioner.provision(plane.client)
            await plane.kubelets.follow(cluster.machines)
            await manager.keep(plane.client, cluster.machines, self._talos.hand)
            await self._webhooks[cluster.id].follow(plane.client)
            await self._flux[cluster.id].follow(plane.client)
            await plane.containers.begin(plane.client, cluster.machines)

    async def _switch_on(self, cluster: LiveCluster) -> None:
        cluster.require_endpoint()
        folder = self._directory / f"kubernetes-{cluster.id}"
        plane = ControlPlane(
            self._programs,
            cluster.config,
            folder,
            cluster.snapshot,
            toleration_s=self._talos.hand.toleration_s,
        )
        try:
            await plane.start()
        except BaseException:
            await plane.stop()
            raise
        self._planes[cluster.id] = plane
        self._webhooks[cluster.id] = MetallbWebhook(folder, self.webhook_delay)
        real = flux_programs.are_there()
        self._flux[cluster.id] = FluxPrograms(folder, plane.host) if real else FluxStandIn(folder)

    async def _switch_off(self, cluster_id: str) -> None:
        # Forgotten only once it has stopped: a rack that is stopped meanwhile does the rest.
        await self._webhooks[cluster_id].stop()
        await self._flux[cluster_id].stop()
        await self._planes[cluster_id].stop()
        del self._webhooks[cluster_id]
        del self._flux[cluster_id]
        plane = self._planes.pop(cluster_id)
        if cluster_id not in self._talos.cluster_ids:
            plane.erase()
