"""``make e2e-bench``: what a castle's life costs on a simulated rack, in seconds and as ratios.

The machines of the rack boot and install in no time: what is measured is the program, the engine
and the providers, and what they wait for of each other.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engine import last_up
from rehearsal.run import rehearse
from report import timeline
from tests.e2e.lab import Lab, Run, missing, rack

SIZES = ((1, 1), (1, 3), (3, 5))
"""Control planes and workers."""
STACK = "bench"
NETWORK = 31
"""Third number of the stack's addresses: 127.0.31.x."""


def lab_of(folder: Path, endpoints: dict[str, str], control_planes: int, workers: int) -> Lab:
    """The reference homelab with so many machines."""
    lab = Lab(folder, NETWORK, endpoints, STACK, ["pve1"])
    lab.set("nodes.control_planes.count", control_planes)
    lab.set("nodes.control_planes.first_address", f"{lab.prefix}.251")
    lab.set("nodes.workers.count", workers)
    lab.set("longhorn.replicas", min(workers, 2))
    return lab


def seconds(run: Callable[[], Run]) -> float:
    """How long a run takes; one that fails ends the measurement."""
    begin = time.perf_counter()
    done = run()
    if done.code != 0:
        raise SystemExit(done.output)
    return time.perf_counter() - begin


def longest_chain(lab: Lab) -> tuple[float, float]:
    """Seconds of the critical path of the last ``up``, and of that ``up`` in the engine."""
    found = rehearse(STACK, lab.program)
    shown, _ = timeline.of(found.castle, last_up.load(lab.program, STACK))
    return sum(bar.end - bar.start for bar in shown.bars if bar.critical), shown.seconds


def measure(control_planes: int, workers: int) -> None:
    """Measure one size, and print its lines."""
    with rack("pve1") as endpoints, tempfile.TemporaryDirectory() as name:
        lab = lab_of(Path(name), endpoints, control_planes, workers)
        first = seconds(lambda: lab.make("up"))
        requests = Counter(asked["api"] for asked in lab.control("GET", "/requests"))
        chain, makespan = longest_chain(lab)
        runs = {
            "up": first,
            "up again": seconds(lambda: lab.make("up")),
            "preview": seconds(lambda: lab.pulumi("preview", "--stack", STACK)),
            "refresh": seconds(lambda: lab.pulumi("refresh", "--yes", "--stack", STACK)),
            "down": seconds(lambda: lab.make("down")),
        }
        lab.close()
    size = f"{control_planes} + {workers}"
    for word, spent in runs.items():
        print(f"{size:8} {word:10} {spent:7.1f} {spent / first:10.2f}", flush=True)
    told = ", ".join(f"{count} {api}" for api, count in sorted(requests.items()))
    print(f"{size:8} critical path {chain:.0f} s of {makespan:.0f} s; requests: {told}", flush=True)


def main() -> int:
    """Measure each size."""
    if absent := missing():
        print(f"The rack needs its tools; {absent}. See tests/e2e/README.md.", file=sys.stderr)
        return 1
    print("machines run        seconds  ratio to up", flush=True)
    for control_planes, workers in SIZES:
        measure(control_planes, workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
