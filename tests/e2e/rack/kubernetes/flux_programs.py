"""Flux itself, where its programs are on PATH: operator, source- and kustomize-controller.

Each is a process that runs while kwok shows a pod of it running. The operator's files lie beside
the charts (``flux-data``, in its repository ``config/data``). Left out: the Helm and the
notification controller, which nothing of ours needs, and roles: they are administrators here.

With the annotation ``rack.simulated/flux: stuck`` on the namespace they are stopped as they are,
and answer nobody: controllers that hang.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from .client import KubernetesClient
from .flux import ANNOTATION, APPLIER, CHARTS, FETCHER, OPERATOR, SPACE, STUCK
from .process import Process

DATA = CHARTS / "flux-data"
PROGRAMS = (OPERATOR, FETCHER, APPLIER)
_PORT = 9790
_OFF = "0"
"""As an address: listen nowhere."""


def are_there() -> bool:
    """Whether Flux itself can run here."""
    return DATA.is_dir() and all(shutil.which(name) for name in PROGRAMS)


class FluxPrograms:
    """Flux in one cluster."""

    def __init__(self, directory: Path, host: str) -> None:
        """``directory`` has the administrator's kubeconfig; ``host`` is the cluster's address."""
        self._directory = directory
        self._storage = f"{host}:{_PORT}"
        self._running: dict[str, Process] = {}
        self._is_stuck = False

    async def follow(self, client: KubernetesClient) -> None:
        """Run what has a pod, and nothing else."""
        space = await client.get(SPACE)
        pods = await client.list(f"{SPACE}/pods") if space else []
        running = [
            it["metadata"]["name"] for it in pods if it.get("status", {}).get("phase") == "Running"
        ]
        wanted = {it for it in PROGRAMS if any(name.startswith(it) for name in running)}
        annotations = space["metadata"].get("annotations", {}) if space else {}
        self._hold(annotations.get(ANNOTATION) == STUCK)
        for name in self._running.keys() - wanted:
            await self._end(name)
        for name in wanted:
            if name in self._running and self._running[name].ended:
                del self._running[name]  # as a kubelet starts a container again
            if name not in self._running:
                self._running[name] = await self._start(name)

    async def stop(self) -> None:
        """End all of them."""
        for name in list(self._running):
            await self._end(name)

    def _hold(self, stuck: bool) -> None:
        if stuck != self._is_stuck:
            self._is_stuck = stuck
            for process in self._running.values():
                process.signal(signal.SIGSTOP if stuck else signal.SIGCONT)

    async def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.signal(signal.SIGCONT)  # one that is held hears nothing
        await process.stop()

    async def _start(self, name: str) -> Process:
        data = self._directory / f"{name}-data"
        data.mkdir(exist_ok=True)
        flags = {
            OPERATOR: [
                f"--storage-path={DATA}",
                "--enable-leader-election=false",
                "--web-server-port=0",
            ],
            FETCHER: [
                f"--storage-path={data}",
                f"--storage-addr={self._storage}",
                f"--storage-adv-addr={self._storage}",
            ],
            APPLIER: [],
        }[name]
        environment = {
            "KUBECONFIG": str(self._directory / "admin.conf"),
            "RUNTIME_NAMESPACE": "flux-system",
            "HOME": str(data),
            "TMPDIR": str(data),
            # The operator refuses to run without.
            "GODEBUG": "fips140=on",
            # Where the tests' own tools are, `git` among them.
            "PATH": os.environ["PATH"],
        }
        log = self._directory / f"{name}.log"
        common = [f"--metrics-addr={_OFF}", f"--health-addr={_OFF}"]
        return await Process.start(str(shutil.which(name)), [*common, *flags], log, environment)
