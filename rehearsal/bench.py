"""``make bench``: what a rehearsal costs with 3, 30 and 100 workers, beside importing the SDKs.

Whole commands are measured, in turns and in one run, so that a busy machine slows all of them
alike. The ratios are what counts; ``TARGETS`` says which of them must hold on a quiet machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from settings.project import PROJECT_FOLDER

SIZES = (3, 30, 100)
ROUNDS = 5
IMPORTS = "importing the SDKs"
SDKS = (
    "import pulumi, pulumi.dynamic, pulumi_proxmoxve, pulumiverse_talos\n"
    "import pulumi_kubernetes.apps.v1, pulumi_kubernetes.core.v1, pulumi_kubernetes.helm.v3\n"
    "import pulumi_kubernetes.apiextensions\n"
)
"""The modules of the SDKs that the program uses."""
REHEARSE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from rehearsal.run import rehearse\n"
    "rehearse('bench', Path(sys.argv[1]))\n"
)
TARGETS = "3 workers: at most 2.5 imports; 100 workers: at most 2.7 times 3 workers"


def write_stack(workers: int, folder: Path) -> None:
    """Write the reference homelab with so many workers into ``folder``."""
    document = yaml.safe_load((PROJECT_FOLDER / "Pulumi.homelab.yaml").read_text(encoding="utf-8"))
    config = document["config"]
    config["ephemeral-castle:nodes"]["workers"]["count"] = workers
    config["ephemeral-castle:nodes"]["workers"]["first_address"] = "192.168.1.125"
    folder.mkdir()
    (folder / "Pulumi.bench.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def seconds(code: str, *arguments: str) -> float:
    """Seconds that a Python process takes for ``code``."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - begin


def measure(root: Path, sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of importing the SDKs, and of a rehearsal with so many workers."""
    for workers in sizes:
        write_stack(workers, root / str(workers))
    times: dict[str, list[float]] = {}
    # The first round compiles what has changed, and is not counted.
    for number in range(rounds + 1):
        found = {IMPORTS: seconds(SDKS)}
        for workers in sizes:
            found[f"{workers} workers"] = seconds(REHEARSE, str(root / str(workers)))
        for name, spent in found.items() if number else ():
            times.setdefault(name, []).append(spent)
    return {name: statistics.median(all_) for name, all_ in times.items()}


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    imports, first = found[IMPORTS], found[f"{SIZES[0]} workers"]
    print("rehearsal            seconds  ratio to imports  ratio to 3 workers")
    for name, spent in found.items():
        print(f"{name:19} {spent:8.2f}  {spent / imports:16.2f}  {spent / first:18.2f}")
    print(f"Targets on a quiet machine: {TARGETS}.")


if __name__ == "__main__":
    main()
