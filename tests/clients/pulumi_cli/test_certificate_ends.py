"""Expiry times of certificates from the stack outputs and from files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from clients.pulumi_cli import certificate_ends
from clients.pulumi_cli.session import PulumiError, StackReader
from clients.talos import credentials
from rehearsal import authorities


def current_credentials() -> credentials.ClusterCredentials:
    """The credentials of a cluster that are valid now."""
    pairs = {"os": authorities.pair("talos"), "k8s": authorities.pair("kubernetes")}
    certs = {n: SimpleNamespace(cert=cert, key=key) for n, (cert, key) in pairs.items()}
    return credentials.issue_admin(SimpleNamespace(**certs), "castle", "https://192.168.1.250:6443")


class FakeReader(StackReader):
    """A reader of a state with these resources; ``None`` if the state cannot be read."""

    def __init__(self, project: Path, resources: list[dict[str, Any]] | None) -> None:
        super().__init__(None, "homelab", project)
        self._resources = resources

    def resources(self, *, secrets: bool = False) -> list[dict[str, Any]]:
        if self._resources is None:
            raise PulumiError("pulumi", self.stack, "no state")
        return self._resources


def test_expiry_times_of_outputs_and_files_have_different_names(tmp_path: Path) -> None:
    now = current_credentials()
    stack: dict[str, Any] = {
        "type": "pulumi:pulumi:Stack",
        "outputs": {"certificates": {"kubeconfig": "2027-01-01T00:00:00Z"}},
    }
    (tmp_path / "kubeconfig").write_text(now.kubeconfig)
    context = {"ca": "", "crt": now.talos.client_certificate, "key": ""}
    talosconfig = {"context": "castle", "contexts": {"castle": context}}
    (tmp_path / "talosconfig").write_text(yaml.safe_dump(talosconfig))
    assert certificate_ends.of(FakeReader(tmp_path, [stack, {"type": "another"}])) == {
        "kubeconfig": datetime(2027, 1, 1, tzinfo=UTC),
        "./kubeconfig": datetime.fromisoformat(now.ends["kubeconfig"]),
        "./talosconfig": datetime.fromisoformat(now.ends["talosconfig"]),
    }


@pytest.mark.parametrize("text", ["", "[1", "users: []", "users: [{user: {}}]", "no: kubeconfig"])
def test_invalid_files_and_a_missing_state_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    assert certificate_ends.of(FakeReader(tmp_path, None)) == {}
