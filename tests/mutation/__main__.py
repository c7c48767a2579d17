"""Changes the program in many small ways, and counts how often a test fails.

A sample of all mutants (``mutants.py``) of the components, the dynamic resources and the settings
is tried. For each, only the tests that run the changed line are run, up to the first failure. The
sample depends only on ``--seed``: a mutant stays in the sample while other lines change.

Exits with 1 if the tests detect less than 90 % of the mutants, or if fewer than 200 were tried
within the time.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import hashlib
import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from settings.project import PROJECT_FOLDER
from tests.mutation.mutants import Mutant, find_mutants

PACKAGES = ("components", "lifecycle", "settings")
"""Each package contributes the same number of mutants."""
LEAST_SHARE = 0.9
LEAST_COUNT = 200
WORKERS = 2
LONGEST_TESTS_S = 60
"""CPU time in seconds of the tests per mutant. It survives if all that fit in this time pass."""
IGNORED = ("e2e", "mutation", "rack", "tools")
"""Tests of the real engine and of its simulated hardware, which need installed programs."""
EXPLAINED = Path(__file__).with_name("equivalent.yaml")
"""Mutants that no test can detect, with the reason."""
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutation.plugin"]
PYTEST += ["-p", "no:cacheprovider", "--tb=line"]


@dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    mutant: Mutant
    outcome: str
    """``killed``, ``timeout`` (an endless loop, for example), ``survived`` or ``no test``."""
    seconds: float
    tests: int
    """Number of tests that run the changed line."""
    output: str
    """The last lines of pytest."""

    @property
    def is_detected(self) -> bool:
        """Whether a test failed."""
        return self.outcome in ("killed", "timeout")


@dataclass
class Coverage:
    """Which test runs which lines of the program."""

    seconds: dict[str, float] = field(default_factory=dict)
    """CPU time of each test."""
    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """By path and line: the tests that run the line. Lines that run only during the import are
    missing."""
    sources: dict[str, str] = field(default_factory=dict)
    """The text of each module."""

    @classmethod
    def read(cls, folder: Path, sources: dict[str, str]) -> Coverage:
        """Read the records of all processes (``plugin.py``)."""
        result = cls(sources=sources)
        for file in folder.glob("*.json"):
            record = json.loads(file.read_text(encoding="utf-8"))
            for test, entry in record["tests"].items():
                result.seconds[test] = entry["seconds"]
                for context in entry["contexts"]:
                    for path, lines in record["contexts"].get(context, {}).items():
                        for line in lines:
                            result.tests.setdefault((path, line), set()).add(test)
            for test in record["failed"]:
                print(f"not used, because it fails or is skipped without a mutant: {test}")
        return result

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that run the changed statement, the most promising first.

        What runs only during the import, such as a constant, is tested by the tests that run a
        line with its name, by the tests of its module and by the tests of its package.
        """
        found = self._tests_of_lines(mutant.path, mutant.lines)
        if not mutant.function:
            found |= self._tests_of_name(mutant.target, {mutant.target})
            module = [line for path, line in self.tests if path == mutant.path]
            found |= self._tests_of_lines(mutant.path, module)
            folder = f"tests/{mutant.path.partition('/')[0]}/"
            found |= {test for test in self.seconds if test.startswith(folder)}
        return self._promising_first(mutant, found)

    def _tests_of_lines(self, path: str, lines: Iterable[int]) -> set[str]:
        return set().union(*(self.tests.get((path, line), ()) for line in lines))

    def _tests_of_name(self, name: str, seen: set[str]) -> set[str]:
        found = set()
        for path, lines, target in self._uses.get(name, ()):
            found |= self._tests_of_lines(path, lines)
            if target and target not in seen:  # a constant that is made of this one
                seen.add(target)
                found |= self._tests_of_name(target, seen)
        return found

    @cached_property
    def _uses(self) -> dict[str, list[tuple[str, range, str]]]:
        """By name: path, lines and target of each statement of the program that uses the name."""
        result: dict[str, list[tuple[str, range, str]]] = {}
        for path, text in self.sources.items():
            for statement in ast.walk(ast.parse(text)):
                if not isinstance(statement, ast.stmt) or hasattr(statement, "body"):
                    continue
                targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                target = targets[0].id if isinstance(targets[0], ast.Name) else ""
                lines = range(statement.lineno, (statement.end_lineno or 0) + 1)
                for node in ast.walk(statement):
                    name = getattr(node, "attr", getattr(node, "id", None))
                    if name and name != target:
                        result.setdefault(name, []).append((path, lines, target))
        return result

    def _promising_first(self, mutant: Mutant, tests: set[str]) -> list[str]:
        folder, _, name = f"tests/{mutant.path}".rpartition("/")
        own = f"{folder}/test_{name}::"

        def rank(test: str) -> tuple[int, float]:
            near = 0 if test.startswith(own) else 1 if test.startswith(f"{folder}/") else 2
            return near, self.seconds[test]

        total = itertools.accumulate(self.seconds[it] for it in sorted(tests, key=rank))
        return [
            test
            for test, sum_s in zip(sorted(tests, key=rank), total, strict=True)
            if sum_s <= LONGEST_TESTS_S
        ]


def sample(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw the same number of mutants from each package, by the hash of what they change."""

    def ticket(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.identity}".encode()).digest()

    by_package: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants, key=ticket):
        by_package.setdefault(mutant.path.partition("/")[0], []).append(mutant)
    share = -(-count // len(by_package))
    return [mutant for chosen in by_package.values() for mutant in chosen[:share]]


def copy_project(folder: Path) -> Path:
    """Copy the files of the project that Git knows or would add, and return the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_FOLDER,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT_FOLDER / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_FOLDER / name, folder / name)
    compileall.compile_dir(folder, quiet=2)
    return folder


def record_coverage(project: Path, folder: Path) -> None:
    """Run all tests that need no installed programs once in the copy ``project``."""
    command = [*PYTEST, "-n", str(WORKERS), *(f"--ignore=tests/{it}" for it in IGNORED)]
    environment = os.environ | {"MUTATION_RECORD": str(folder)}
    subprocess.run(command, cwd=project, env=environment, check=False)


class Runner:
    """Runs the tests of mutants, each in one of some copies of the project."""

    def __init__(self, projects: Iterable[Path], coverage: Coverage) -> None:
        self._coverage = coverage
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for project in projects:
            self._free.put(project)
        self._times = itertools.count(int(time.time()))

    def try_mutant(self, mutant: Mutant) -> Result:
        """Run the tests of one mutant."""
        tests = self._coverage.tests_of(mutant)
        if not tests:
            return Result(mutant, "no test", 0, 0, "")
        project = self._free.get()
        file = project / mutant.path
        began = time.monotonic()
        try:
            self._write(file, mutant.text)
            outcome, output = self._run(project, tests)
        finally:
            self._write(file, mutant.source)
            self._free.put(project)
        return Result(mutant, outcome, time.monotonic() - began, len(tests), output)

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        moment = next(self._times)  # Python compiles a file again only if its time has changed
        os.utime(file, (moment, moment))

    def _run(self, project: Path, tests: list[str]) -> tuple[str, str]:
        limit = 120 + 20 * sum(self._coverage.seconds[it] for it in tests)
        with tempfile.TemporaryDirectory() as folder:
            selection = Path(folder) / "tests.json"
            selection.write_text(json.dumps(tests), encoding="utf-8")
            environment = {"MUTATION_TESTS": str(selection), "PYTHONDONTWRITEBYTECODE": "1"}
            files = dict.fromkeys(test.partition("::")[0] for test in tests)
            process = subprocess.Popen(
                [*PYTEST, "-x", "-p", "no:xdist", f"--basetemp={folder}/pytest", *files],
                cwd=project,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                output, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                return "timeout", ""
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode == pytest_no_tests():
            raise RuntimeError(f"pytest found none of the tests:\n{output}")
        return ("killed" if process.returncode else "survived"), "\n".join(output.splitlines()[-6:])


def pytest_no_tests() -> int:
    """Return the exit code of pytest if it ran no test."""
    return 5


def explanations() -> dict[tuple[str, str], str]:
    """Return the reasons in ``equivalent.yaml``, by path and diff."""
    entries = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8")) or []
    return {(it["path"], _plain(it["diff"])): it["reason"] for it in entries}


def _plain(diff: str) -> str:
    return re.sub(r"\s+", " ", diff).strip()


def read_sources(project: Path) -> dict[str, str]:
    """Return the text of each module of the program, by its path."""
    paths = [it for it in project.glob("*/**/*.py") if it.relative_to(project).parts[0] != "tests"]
    return {str(it.relative_to(project)): it.read_text(encoding="utf-8") for it in paths}


def candidates(coverage: Coverage) -> Iterator[Mutant]:
    """Yield all mutants. In ``lifecycle/operations`` only those that a unit test runs."""
    for path, text in sorted(coverage.sources.items()):
        if path.partition("/")[0] in PACKAGES:
            for mutant in find_mutants(path, text):
                if not path.startswith("lifecycle/operations/") or coverage.tests_of(mutant):
                    yield mutant


def show(result: Result, reasons: Mapping[tuple[str, str], str]) -> None:
    """Print one result."""
    mutant = result.mutant
    print(
        f"{result.outcome}: {mutant.path}:{mutant.line} ({mutant.kind}, {result.tests} tests, "
        f"{result.seconds:.0f} s)\n{mutant.diff}"
    )
    reason = reasons.get((mutant.path, _plain(mutant.diff)))
    if reason and not result.is_detected:
        print(f"  no test can detect it: {reason}")
    print(flush=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--count", type=int, default=240, help="number of mutants (default: 240)")
    parser.add_argument("--seed", type=int, default=16, help="another number is another sample")
    parser.add_argument("--minutes", type=float, default=58, help="limit for all (default: 58)")
    parser.add_argument("--record", type=Path, help="folder of an earlier recording of this tree")
    parser.add_argument("--only", default="", help="only paths that begin with this text")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        projects = [copy_project(Path(folder) / f"copy-{index}") for index in range(WORKERS)]
        record = options.record or Path(folder) / "record"
        if not record.exists():
            record.mkdir()
            print("Recording which test runs which line ...", flush=True)
            record_coverage(projects[0], record)
        coverage = Coverage.read(record, read_sources(projects[0]))
        found = [it for it in candidates(coverage) if it.path.startswith(options.only)]
        chosen = sample(found, options.count, options.seed)
        print(f"{len(chosen)} of {len(found)} mutants, {len(coverage.seconds)} tests", flush=True)
        results = run_all(Runner(projects, coverage), chosen, end)
    return summarize(results, min(LEAST_COUNT, options.count))


def run_all(runner: Runner, mutants: list[Mutant], end: float) -> list[Result]:
    """Try the mutants until the time ``end``, and print each result."""
    reasons = explanations()
    results: list[Result] = []

    def attempt(mutant: Mutant) -> Result | None:
        return runner.try_mutant(mutant) if time.monotonic() < end else None

    with ThreadPoolExecutor(WORKERS) as pool:
        for future in as_completed([pool.submit(attempt, mutant) for mutant in mutants]):
            if result := future.result():
                results.append(result)
                show(result, reasons)
    return results


def summarize(results: list[Result], least: int) -> int:
    """Print the survivors and the score, and return the exit code."""
    reasons = explanations()
    survivors = sorted(
        (it for it in results if not it.is_detected),
        key=lambda it: (it.mutant.path, it.mutant.line),
    )
    if survivors:
        print("Survivors\n---------")
    for result in survivors:
        show(result, reasons)
    totals: dict[str, Counter[Any]] = {}
    for result in results:
        package = result.mutant.path.partition("/")[0]
        totals.setdefault(package, Counter())[result.is_detected] += 1
    for package, counts in sorted(totals.items()):
        print(f"{package}: {counts[True]} of {counts.total()} killed")
    share = 1 - len(survivors) / max(len(results), 1)
    print(f"{len(results) - len(survivors)} of {len(results)} mutants killed: {share:.1%}")
    if len(results) < least:
        print(f"Only {len(results)} mutants were tried in the time; at least {least} are required.")
    return int(share < LEAST_SHARE or len(results) < least)


if __name__ == "__main__":
    sys.exit(main())
