"""``make snapshot``: which control planes it asks, where it saves, and what it prints."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backup.etcd_archive import Archive
from clients.errors import OperationError
from clients.pulumi_cli.session import PulumiError
from clients.tls import ClientCredentials, context_of
from commands import __main__ as commands
from lifecycle.operations import snapshots
from settings.models import Settings
from tests.backup.archives import KEY, archive
from tests.commands.conftest import Cli
from tests.rack.machine_configs import talos_authority
from tests.recorder import settings_with

AUTHORITY = talos_authority()
CERTIFICATE = base64.b64encode(AUTHORITY.pem).decode()
PRIVATE_KEY = json.dumps(base64.b64encode(AUTHORITY.key_pem).decode())
SECRETS = {
    "urn": "urn:pulumi:homelab::ephemeral-castle::talos:machine/secrets:Secrets::cluster-secrets",
    "type": "talos:machine/secrets:Secrets",
    "outputs": {
        "machineSecrets": {
            "certs": {
                "os": {
                    "cert": CERTIFICATE,
                    "key": {"4dabf18193072939515e22adb298388d": "secret", "plaintext": PRIVATE_KEY},
                }
            }
        }
    },
}


@pytest.fixture
def etcd_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the snapshot of etcd; returns credentials and addresses of each call."""
    calls: list[Any] = []

    def take(credentials: ClientCredentials, addresses: Iterable[str]) -> Archive:
        calls.append((credentials, list(addresses)))
        return archive()

    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    monkeypatch.setattr(snapshots, "take_snapshot", take)
    monkeypatch.setattr(snapshots, "FOLDER", tmp_path / ".state" / "etcd")
    return calls


def use_settings(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr("clients.pulumi_cli.stack_settings.settings", lambda session: settings)


def state(fake: Cli, *resources: Mapping[str, Any]) -> None:
    fake.answers("stack export", {"version": 3, "deployment": {"resources": resources}})


@pytest.mark.parametrize("sealed", [True, False])
def test_snapshot_prints_its_path_and_how_to_restore_it(
    fake: Cli,
    etcd_calls: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sealed: bool,
) -> None:
    use_settings(monkeypatch, settings_with(sops={"age_key": str(KEY)} if sealed else {}))
    state(fake, SECRETS)
    assert commands.main(["snapshot"]) == 0
    ((credentials, addresses),) = etcd_calls
    assert addresses == ["192.168.1.253"]
    assert credentials.ca_certificate == CERTIFICATE
    context_of(credentials)  # fails if certificate and key do not fit
    (path,) = snapshots.stored_files("ephemeral-castle-homelab")
    shown = capsys.readouterr().out
    assert shown.startswith(f"Saved a snapshot of etcd: .state/etcd/{path.name}, 0.0 MB")
    assert path.name.endswith(".db.age") is sealed
    assert (f"cluster.restore_from: .state/etcd/{path.name}" in shown) is sealed
    assert ("PLAIN TEXT" in shown and "make age-key" in shown) is not sealed
    assert str(KEY) not in shown


def test_snapshot_fails_without_a_cluster(
    fake: Cli,
    etcd_calls: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_settings(monkeypatch, settings_with())
    state(fake)
    assert commands.main(["snapshot"]) == 1
    assert "has no cluster yet" in capsys.readouterr().out
    assert etcd_calls == []


@pytest.mark.parametrize(
    "error", [OperationError("etcd does not answer"), PulumiError("pulumi", "homelab", "no state")]
)
def test_the_reason_of_a_failed_snapshot_is_shown(
    fake: Cli,
    etcd_calls: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def refuse(*_: Any) -> Archive:
        raise error

    use_settings(monkeypatch, settings_with())
    state(fake, json.loads(json.dumps(SECRETS)))
    monkeypatch.setattr(snapshots, "take_snapshot", refuse)
    assert commands.main(["snapshot"]) == 1
    assert f"No snapshot was taken: {error}" in capsys.readouterr().out
    assert snapshots.stored_files("ephemeral-castle-homelab") == []
