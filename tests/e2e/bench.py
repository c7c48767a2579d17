"""``make e2e-bench``: what the life of a stack costs on a simulated rack, in seconds and as ratios.

The machines of the rack boot and install in no time: what is measured is the program, the engine
and the providers, and what they wait for of each other. Previews are measured in turns with the
preview of an empty Pulumi program, so that a busy machine slows both alike. It takes about half an
hour on two cores.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import yaml

from commands import last_up
from rehearsal.run import rehearse
from report import timeline
from tests.e2e.lab import Lab, Run, missing, rack

LIVES = ((1, 3), (3, 5), (1, 100))
"""Control planes and workers of the stacks that are deployed and taken away."""
WORKERS = (3, 30, 100)
"""Sizes of the stacks that are previewed."""
HOSTS = ["pve1", "pve2"]
"""Proxmox hosts: the disks of 100 workers do not fit on one."""
ROUNDS = 3
STACK = "bench"
NETWORK = 31
"""Third number of the stack's addresses: 127.0.31.x."""
TARGETS = """Targets on two quiet cores:
  first preview       3 workers at most 2.5 x empty, 100 workers 8 x; 100 workers 3.3 x 30 workers
  without changes     preview of 100 workers at most 11 x empty; make up 1.6 x preview
  first up            the engine's update at most 1.15 x its critical path"""


def lab_of(folder: Path, endpoints: dict[str, str], control_planes: int, workers: int) -> Lab:
    """The reference homelab with so many machines."""
    lab = Lab(folder, NETWORK, endpoints, STACK, HOSTS)
    lab.set("nodes.control_planes.count", control_planes)
    lab.set("nodes.control_planes.first_address", f"{lab.prefix}.251")
    lab.set("nodes.workers.first_address", f"{lab.prefix}.125")
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


class Empty:
    """A Pulumi program without a resource, beside a lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._folder = lab.folder / "empty"
        self._folder.mkdir()
        options = {"virtualenv": sys.prefix, "toolchain": "pip"}
        project = {"name": "empty", "runtime": {"name": "python", "options": options}}
        (self._folder / "Pulumi.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
        (self._folder / "__main__.py").write_text("import pulumi\n", encoding="utf-8")
        seconds(lambda: self._run("stack", "init", "empty"))

    def preview(self) -> float:
        """Seconds of its preview."""
        return seconds(lambda: self._run("preview", "--stack", "empty"))

    def _run(self, *arguments: str) -> Run:
        return self._lab.finish(self._lab.start(*arguments, folder=self._folder))


def previewed(lab: Lab) -> float:
    """Seconds of a preview."""
    return seconds(lambda: lab.pulumi("preview", "--stack", STACK))


def longest_chain(lab: Lab) -> tuple[float, float]:
    """Seconds of the critical path of the last ``up``, and of that ``up`` in the engine."""
    found = rehearse(STACK, lab.program)
    shown = timeline.build_timeline(found.recording, last_up.load(lab.program, STACK))
    return sum(bar.end - bar.start for bar in shown.bars if bar.critical), shown.seconds


def show(name: str, found: dict[str, float], base: str) -> None:
    """Print seconds, and how often they contain those of ``base``."""
    print(f"\n{name:32} seconds  ratio to {base}", flush=True)
    for word, spent in found.items():
        print(f"{word:32} {spent:7.1f}  {spent / found[base]:8.2f}", flush=True)


def measure_previews() -> None:
    """Measure first previews, where nothing is deployed yet."""
    with rack(*HOSTS) as endpoints, tempfile.TemporaryDirectory() as name:
        lab = lab_of(Path(name), endpoints, 1, WORKERS[0])
        empty = Empty(lab)
        times: dict[str, list[float]] = {}
        # The first round compiles the program, and is not counted.
        for number in range(ROUNDS + 1):
            found = {"empty program": empty.preview()}
            for workers in WORKERS:
                lab.set("nodes.workers.count", workers)
                found[f"{workers} workers"] = previewed(lab)
            for word, spent in found.items() if number else ():
                times.setdefault(word, []).append(spent)
        lab.close()
    medians = {word: statistics.median(all_) for word, all_ in times.items()}
    show("first preview", medians, "empty program")


def measure_life(control_planes: int, workers: int) -> None:
    """Measure what a stack goes through, and print it."""
    with rack(*HOSTS) as endpoints, tempfile.TemporaryDirectory() as name:
        lab = lab_of(Path(name), endpoints, control_planes, workers)
        empty = Empty(lab)
        empty.preview()
        first = seconds(lambda: lab.make("up"))
        requests = Counter(asked["api"] for asked in lab.control("GET", "/requests"))
        chain, makespan = longest_chain(lab)
        runs: dict[str, Callable[[], float]] = {
            "empty program": empty.preview,
            "preview": lambda: previewed(lab),
            "make up without changes": lambda: seconds(lambda: lab.make("up")),
            "refresh": lambda: seconds(lambda: lab.pulumi("refresh", "--yes", "--stack", STACK)),
        }
        rounds: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for word, run in runs.items():
                rounds.setdefault(word, []).append(run())
        found = {word: statistics.median(all_) for word, all_ in rounds.items()}
        found["first make up"] = first
        found["make down"] = seconds(lambda: lab.make("down"))
        lab.close()
    show(f"{control_planes} control planes, {workers} workers", found, "empty program")
    told = ", ".join(f"{count} {api}" for api, count in sorted(requests.items()))
    print(f"the engine's part of the first up: {makespan:.1f} s, its critical path {chain:.1f} s, ")
    print(f"ratio {makespan / chain:.2f}; requests: {told}", flush=True)


def main() -> int:
    """Measure everything."""
    if absent := missing():
        print(f"The rack needs its tools; {absent}. See tests/e2e/README.md.", file=sys.stderr)
        return 1
    measure_previews()
    for control_planes, workers in LIVES:
        measure_life(control_planes, workers)
    print(TARGETS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
