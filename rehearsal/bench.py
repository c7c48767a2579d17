"""``make bench``: what a rehearsal costs with 3, 30 and 100 workers, and what one more costs."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import yaml

from rehearsal.run import PROGRAM, rehearse

SIZES = (3, 30, 100)
ROUNDS = 5


def stack_of(workers: int, folder: Path) -> str:
    """Write the reference homelab with so many workers into ``folder``; returns its name."""
    document = yaml.safe_load((PROGRAM / "Pulumi.homelab.yaml").read_text(encoding="utf-8"))
    config = document["config"]
    config["ephemeral-castle:nodes"]["workers"]["count"] = workers
    config["ephemeral-castle:nodes"]["workers"]["first_address"] = "192.168.1.125"
    (folder / "Pulumi.bench.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return "bench"


def measure(workers: int) -> float:
    """Median seconds of a rehearsal."""
    with tempfile.TemporaryDirectory() as name:
        stack = stack_of(workers, Path(name))
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):
                rehearse(stack, Path(name))
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Measure each size and print seconds, the ratio to the first, and milliseconds a worker."""
    measure(SIZES[0])  # imports, and whatever else happens once
    found = [(workers, measure(workers)) for workers in SIZES]
    first_workers, first = found[0]
    print("workers  seconds  ratio to 3  ms for each worker more")
    for workers, seconds in found:
        more = workers - first_workers
        each = f"{(seconds - first) / more * 1000:.1f}" if more else "-"
        print(f"{workers:7}  {seconds:7.3f}  {seconds / first:10.2f}  {each:>23}")


if __name__ == "__main__":
    main()
