"""One rehearsal of the reference stack for all tests here, and the tools to vary stacks."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.record import Recording
from rehearsal.run import Rehearsal, rehearse
from settings.groups import PROJECT
from settings.project import PROJECT_FOLDER

Vary = Callable[..., Rehearsal]


@pytest.fixture(scope="session")
def homelab() -> Rehearsal:
    """The rehearsed reference stack; shared, so look only."""
    return rehearse("homelab")


@pytest.fixture(scope="session")
def host_network(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The reference with Traefik on the control plane's own ports; shared, so look only."""
    folder = tmp_path_factory.mktemp("host-network")
    write_stack(folder, "homelab", {"traefik.exposure": "host-network"})
    return rehearse("homelab", folder)


FLUX: dict[str, Any] = {
    "flux": {
        "url": "ssh://git@git.tazlab.net/me/manifests.git",
        "deploy_key": {"secure": "v1:abc"},
        "known_hosts": "git.tazlab.net ssh-ed25519 AAAAC3Nz",
    },
    "sops": {"age_key": {"secure": "v1:abc"}},
}
"""Changes that make the reference follow a repository, with both of its secrets."""


@pytest.fixture(scope="session")
def gitops(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The reference with Flux and an age key; shared, so look only."""
    folder = tmp_path_factory.mktemp("gitops")
    write_stack(folder, "homelab", FLUX)
    return rehearse("homelab", folder)


@pytest.fixture
def recording(homelab: Rehearsal) -> Recording:
    """What the reference asks of the engine, to break one thing in."""
    return deepcopy(homelab.recording)


@pytest.fixture
def vary(tmp_path: Path) -> Vary:
    """Rehearse a stack of the repository, changed: ``vary({"nodes.workers.count": 4})``."""

    def run(changes: dict[str, Any], base: str = "homelab", *, preview: bool = False) -> Rehearsal:
        write_stack(tmp_path, base, changes)
        return rehearse(base, tmp_path, preview=preview)

    return run


def write_stack(folder: Path, base: str, changes: dict[str, Any]) -> None:
    """Write a stack file of the repository to ``folder``, with other values at dotted paths."""
    text = (PROJECT_FOLDER / f"Pulumi.{base}.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    for dotted, value in changes.items():
        group, *inner = dotted.split(".")
        parts = [dotted] if ":" in group else [f"{PROJECT}:{group}", *inner]
        holder = document["config"]
        for part in parts[:-1]:
            holder = holder.setdefault(part, {})
        holder[parts[-1]] = value
    (folder / f"Pulumi.{base}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
