"""When certificates end: from the outputs of a state, and from files that lie here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import yaml

from clients.pulumi_cli import certificate_ends, state
from clients.talos import credentials
from rehearsal import authorities


def given() -> credentials.Given:
    """What a castle gives now."""
    pairs = {"os": authorities.pair("talos"), "k8s": authorities.pair("kubernetes")}
    certs = {n: SimpleNamespace(cert=cert, key=key) for n, (cert, key) in pairs.items()}
    return credentials.given(SimpleNamespace(**certs), "castle", "https://192.168.1.250:6443")


def test_outputs_and_files_are_told_apart(tmp_path: Path) -> None:
    now = given()
    stack: dict[str, Any] = {
        "type": "pulumi:pulumi:Stack",
        "outputs": {"certificates": {"kubeconfig": "2027-01-01T00:00:00Z"}},
    }
    (tmp_path / "kubeconfig").write_text(now.kubeconfig)
    context = {"ca": "", "crt": now.talos.client_certificate, "key": ""}
    talosconfig = {"context": "castle", "contexts": {"castle": context}}
    (tmp_path / "talosconfig").write_text(yaml.safe_dump(talosconfig))
    assert certificate_ends.of(tmp_path, lambda: [stack, {"type": "another"}]) == {
        "kubeconfig": datetime(2027, 1, 1, tzinfo=UTC),
        "./kubeconfig": datetime.fromisoformat(now.ends["kubeconfig"]),
        "./talosconfig": datetime.fromisoformat(now.ends["talosconfig"]),
    }


@pytest.mark.parametrize("text", ["", "[1", "users: []", "users: [{user: {}}]", "no: kubeconfig"])
def test_what_cannot_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    def fail() -> NoReturn:
        raise state.NoStateError("the disk is on fire")

    (tmp_path / "kubeconfig").write_text(text)
    assert certificate_ends.of(tmp_path, fail) == {}
