"""The simulator of Kubernetes control planes, without a control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.e2e.rack.kubernetes.simulator import KubernetesSimulator


async def test_a_stop_succeeds_while_the_machines_change(tmp_path: Path) -> None:
    """A rack did not stop for three minutes in a real run: its loop had lost the cancellation."""
    talos: Any = SimpleNamespace(live_clusters=list, cluster_ids=set(), on_change=None)
    programs: Any = None
    simulator = KubernetesSimulator(programs, talos, tmp_path)
    simulator.start()
    for _ in range(10):
        await asyncio.sleep(0)  # the loop waits for a change now
    talos.on_change()
    stopped, _ = await asyncio.wait({asyncio.create_task(simulator.stop())}, timeout=10)
    assert stopped
