"""``make bench``: measures rehearsals of 3, 30 and 100 workers, and the imports of the SDKs.

It measures complete processes, interleaved in one run, so that a busy computer slows all of them
equally. Compare the ratios with ``TARGETS`` on an idle computer.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from settings.project import PROJECT_FOLDER
from tests.rehearsals import write_stack

SIZES = (3, 30, 100)
ROUNDS = 5
IMPORTS = "imports of the SDKs"
SDKS = (
    "import pulumi, pulumi.dynamic, pulumi_proxmoxve, pulumiverse_talos\n"
    "import pulumi_kubernetes.apps.v1, pulumi_kubernetes.core.v1, pulumi_kubernetes.helm.v3\n"
    "import pulumi_kubernetes.apiextensions\n"
)
"""Imports of the SDK modules that the program uses."""
REHEARSE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from rehearsal.run import rehearse\n"
    "rehearse('homelab', Path(sys.argv[1]))\n"
)
TARGETS = "3 workers at most 2.5 times the imports; 100 workers at most 2.7 times 3 workers"


def run_seconds(code: str, *arguments: str) -> float:
    """Run ``code`` in a Python process, and return the seconds that it takes."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - start


def measure(root: Path, sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of the imports, and of a rehearsal of each number of workers."""
    for workers in sizes:
        folder = root / str(workers)
        folder.mkdir()
        changes = {"nodes.workers.count": workers, "nodes.workers.first_address": "192.168.1.125"}
        write_stack(folder, "homelab", changes)
    times: dict[str, list[float]] = {}
    # The first round compiles changed modules, so it does not count.
    for round_number in range(rounds + 1):
        measured = {IMPORTS: run_seconds(SDKS)}
        for workers in sizes:
            measured[f"{workers} workers"] = run_seconds(REHEARSE, str(root / str(workers)))
        for name, seconds in measured.items() if round_number else ():
            times.setdefault(name, []).append(seconds)
    return {name: statistics.median(rounds_s) for name, rounds_s in times.items()}


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as name:
        medians = measure(Path(name))
    imports, smallest = medians[IMPORTS], medians[f"{SIZES[0]} workers"]
    print("rehearsal            seconds  ratio to imports  ratio to 3 workers")
    for name, seconds in medians.items():
        print(f"{name:19} {seconds:8.2f}  {seconds / imports:16.2f}  {seconds / smallest:18.2f}")
    print(f"Targets on an idle computer: {TARGETS}.")


if __name__ == "__main__":
    main()
