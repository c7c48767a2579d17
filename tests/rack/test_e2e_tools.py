"""``make e2e-tools``: what is pinned, and what is built of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e import lab
from tests.e2e.lab import CLUSTER, RESTORES
from tests.e2e.tools import build
from tests.recorder import settings_with

GO_MOD = (build.MODULE / "go.mod").read_text(encoding="utf-8")


def test_kubernetes_is_the_release_that_the_settings_name() -> None:
    version = settings_with().cluster.kubernetes
    assert re.findall(r"^\tk8s\.io/kubernetes (\S+)", GO_MOD, re.MULTILINE) == [version]
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", GO_MOD, re.MULTILINE)
    assert len(replaced) > 30
    for name, by, tag in replaced:
        assert (name, tag) == (by, version.replace("v1.", "v0."))


def test_what_the_rack_needs_is_built_of_what_is_pinned() -> None:
    tools = re.search(r"^tool \(\n(.*?)^\)", GO_MOD, re.MULTILINE | re.DOTALL)
    assert tools is not None
    assert sorted(build.PACKAGES.values()) == sorted(tools[1].split())
    assert sorted(build.PACKAGES) == sorted([*CLUSTER, RESTORES])


GO = """#!/bin/sh
[ "$1" = list ] && echo v1.36.3 && exit 0
echo "$CGO_ENABLED $*" >> {log}
for last; do [ "$last" != "{fails}" ] || exit 7; done
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Go, which notes what it is to build."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "FOLDER", tmp_path / ".e2e-tools" / "bin")
    program = tmp_path / "go"
    program.write_text(GO.format(log=tmp_path / "log", fails="none"))
    program.chmod(0o755)
    return program


def test_each_program_is_built_and_knows_its_release(go: Path) -> None:
    assert build.main() == 0
    lines = (go.parent / "log").read_text().splitlines()
    assert len(lines) == len(build.PACKAGES)
    for line, (name, package) in zip(lines, build.PACKAGES.items(), strict=True):
        assert line.startswith("0 build ") and line.endswith(f"/bin/{name} {package}")
        assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in line
        assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in line


def test_it_ends_where_go_does(go: Path) -> None:
    go.write_text(GO.format(log=go.parent / "log", fails=build.PACKAGES["kube-apiserver"]))
    assert build.main() == 7
    built = (go.parent / "log").read_text().splitlines()
    assert built[-1].endswith(build.PACKAGES["kube-apiserver"]) and len(built) < len(build.PACKAGES)


def test_without_go_it_says_so(go: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go.unlink()
    assert build.main() == 1
    assert "Go is needed" in capsys.readouterr().err


def test_what_a_test_needs_beside_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "missing", lambda: "")
    assert lab.without("sh") == ""
    assert lab.without("sh", "no-such-program") == "not found: no-such-program"
    monkeypatch.setattr(lab, "missing", lambda: "not found: etcd")
    assert lab.without("sh") == "not found: etcd"
