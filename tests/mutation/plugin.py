"""A pytest plugin: records which test runs which lines, or runs the tests of one mutant.

With ``MUTATION_RECORD=FOLDER`` it writes one file per process to the folder: the lines of the
program that each passed test runs. Otherwise ``MUTATION_TESTS=FILE`` selects the tests of the file,
in its order.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from settings.project import PROJECT_FOLDER

IMPORT = "import"
"""The context of lines that run while the program is imported."""
_CACHED = type(functools.cache(lambda: None))


def pytest_configure(config: pytest.Config) -> None:
    """Register the recorder or the selection."""
    folder = os.environ.get("MUTATION_RECORD")
    if folder and "PYTEST_XDIST_WORKER" in os.environ:
        config.pluginmanager.register(_Recorder(Path(folder)))
    if file := os.environ.get("MUTATION_TESTS"):
        config.pluginmanager.register(_Selection(json.loads(Path(file).read_text("utf-8"))))


class _Selection:
    """Runs some of the collected tests, in a given order."""

    def __init__(self, tests: list[str]) -> None:
        self._order = {test: index for index, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop all other tests."""
        items[:] = sorted(
            (it for it in items if it.nodeid in self._order), key=lambda it: self._order[it.nodeid]
        )


class _Recorder:
    """Records the lines that each test runs, alone or in the fixtures that it shares."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._coverage = coverage.Coverage(
            data_file=None,
            config_file=False,
            include=[f"{PROJECT_FOLDER}/*"],
            omit=[f"{PROJECT_FOLDER}/tests/*", f"{PROJECT_FOLDER}/.venv/*"],
        )
        self._coverage.start()
        self._contexts = [IMPORT]
        self._switch()
        self._fixtures: dict[str, list[str]] = {}
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def _switch(self) -> None:
        self._coverage.switch_context(self._contexts[-1])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record under the name of the test, with empty caches of the test modules."""
        for name, module in list(sys.modules.items()):
            if name.startswith("tests."):
                for cached in filter(_is_cached, vars(module).values()):
                    cached.cache_clear()
        self._contexts.append(item.nodeid)
        self._switch()
        before = time.process_time()
        result = yield
        self._seconds[item.nodeid] = time.process_time() - before
        self._contexts.pop()
        self._switch()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Record a fixture that several tests share under its own name."""
        if fixturedef.scope == "function":
            return (yield)
        self._contexts.append(_name(fixturedef))
        self._switch()
        result = yield
        self._contexts.pop()
        self._switch()
        return result

    def pytest_runtest_setup(self, item: pytest.Function) -> None:
        """Note the shared fixtures of a test."""
        self._fixtures[item.nodeid] = [
            _name(fixturedefs[-1])
            for fixturedefs in item._fixtureinfo.name2fixturedefs.values()
            if fixturedefs[-1].scope != "function"
        ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note whether the test passed."""
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the file of this process."""
        self._coverage.stop()
        data = self._coverage.get_data()
        contexts: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            path = str(Path(file).relative_to(PROJECT_FOLDER))
            for line, names in data.contexts_by_lineno(file).items():
                for name in names:
                    contexts.setdefault(name, {}).setdefault(path, []).append(line)
        tests = {
            test: {
                "seconds": round(seconds, 3),
                "contexts": [test, *self._fixtures.get(test, [])],
            }
            for test, seconds in self._seconds.items()
            if test not in self._failed
        }
        record = {"tests": tests, "contexts": contexts, "failed": sorted(self._failed)}
        text = json.dumps(record)
        (self._folder / f"{os.getpid()}.json").write_text(text, encoding="utf-8")


def _is_cached(value: object) -> bool:
    return isinstance(value, _CACHED)


def _name(fixture: pytest.FixtureDef[Any]) -> str:
    return f"fixture {fixture.baseid} {fixture.argname}"
