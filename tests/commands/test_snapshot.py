"""`make snapshot`: of whom, where it lies, and what is said of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backup.etcd_archive import Archive
from clients.errors import OperationError
from clients.pulumi_cli.session import SessionError
from clients.tls import context_of
from commands import __main__ as engine
from lifecycle.operations import snapshots
from settings.models import Settings
from tests.backup.archives import KEY, archive
from tests.commands.conftest import Cli
from tests.rack.machine_configs import talos_authority
from tests.recorder import settings_with

AUTHORITY = talos_authority()
CERTIFICATE = base64.b64encode(AUTHORITY.pem).decode()
KEY_OF_IT = json.dumps(base64.b64encode(AUTHORITY.key_pem).decode())
SECRETS = {
    "urn": "urn:pulumi:homelab::ephemeral-castle::talos:machine/secrets:Secrets::cluster-secrets",
    "type": "talos:machine/secrets:Secrets",
    "outputs": {
        "machineSecrets": {
            "certs": {
                "os": {
                    "cert": CERTIFICATE,
                    "key": {"4dabf18193072939515e22adb298388d": "secret", "plaintext": KEY_OF_IT},
                }
            }
        }
    },
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """With what credentials, and at which addresses, etcd was asked."""
    calls: list[Any] = []

    def take(credentials: Mapping[str, Any], addresses: Iterable[str]) -> Archive:
        calls.append((dict(credentials), list(addresses)))
        return archive()

    monkeypatch.setattr(snapshots, "take", take)
    monkeypatch.setattr(snapshots, "FOLDER", tmp_path / ".state" / "etcd")
    monkeypatch.setattr("commands.snapshot.PROJECT_FOLDER", tmp_path)
    return calls


def read(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr("clients.pulumi_cli.stack_settings.settings", lambda session: settings)


def state(fake: Cli, *resources: Mapping[str, Any]) -> None:
    fake.answers("stack export", {"version": 3, "deployment": {"resources": resources}})


@pytest.mark.parametrize("sealed", [True, False])
def test_it_says_where_it_lies_and_how_to_restore_it(
    fake: Cli,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sealed: bool,
) -> None:
    read(monkeypatch, settings_with(sops={"age_key": str(KEY)} if sealed else {}))
    state(fake, SECRETS)
    assert engine.main(["snapshot"]) == 0
    ((credentials, addresses),) = asked
    assert addresses == ["192.168.1.253"]
    assert credentials["ca_certificate"] == CERTIFICATE
    context_of(credentials)  # certificate and key fit together
    (path,) = snapshots.kept("ephemeral-castle-homelab")
    said = capsys.readouterr().out
    assert said.startswith(f".state/etcd/{path.name}, 0.0 MB: a snapshot of etcd")
    assert path.name.endswith(".db.age") is sealed
    assert (f"cluster.restore_from: .state/etcd/{path.name}" in said) is sealed
    assert ("PLAIN TEXT" in said and "make age-key" in said) is not sealed
    assert str(KEY) not in said


def test_without_a_castle_there_is_nothing_to_keep(
    fake: Cli,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read(monkeypatch, settings_with())
    state(fake)
    assert engine.main(["snapshot"]) == 1
    assert "has no cluster yet" in capsys.readouterr().out
    assert asked == []


@pytest.mark.parametrize(
    "error", [OperationError("etcd does not answer"), SessionError("no state")]
)
def test_what_stands_in_the_way_is_said(
    fake: Cli,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def refuse(*_: Any) -> Archive:
        raise error

    read(monkeypatch, settings_with())
    state(fake, json.loads(json.dumps(SECRETS)))
    monkeypatch.setattr(snapshots, "take", refuse)
    assert engine.main(["snapshot"]) == 1
    assert f"No snapshot was taken: {error}" in capsys.readouterr().out
    assert snapshots.kept("ephemeral-castle-homelab") == []
