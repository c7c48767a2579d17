"""Backup of the certificates: ``make backup``, at the end of ``up``, at the start of ``down``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyrage
import pytest

from backup.acme_json import read
from clients.kubernetes import exec
from clients.kubernetes.api import ClusterApi, KubernetesError
from commands import __main__ as commands
from commands import acme_record, backup
from components.traefik import certificate_backup
from settings.load import TOKEN
from settings.project import PROJECT_FOLDER
from settings.resource_types import PROVIDER
from tests.backup.traefiks import acme_json, secrets_of
from tests.commands.conftest import Cli
from tests.settings.test_fixtures import reference

KEY = str(pyrage.x25519.Identity.generate())
POD = {"metadata": {"name": "traefik-0"}, "status": {"phase": "Running"}}
RESOURCES: list[dict[str, Any]] = [
    {
        "urn": "urn:pulumi:homelab::ephemeral-castle::kubernetes:core/v1:x::traefik-certificates",
        "type": "kubernetes:core/v1:PersistentVolumeClaim",
        "inputs": {"metadata": {"name": "traefik-certificates", "namespace": "traefik"}},
    },
    {
        "urn": "urn:pulumi:homelab::ephemeral-castle::pulumi:providers:kubernetes::kubernetes",
        "type": PROVIDER,
        "inputs": {"kubeconfig": {"plaintext": json.dumps("a kubeconfig")}},
    },
]


class FakeCluster:
    """A running cluster: its Kubernetes API and Traefik's files."""

    def __init__(self, fake: Cli, folder: Path) -> None:
        self._fake = fake
        self.backups = folder / "backups"
        self.files: dict[str, list[bytes]] = {}
        """By path: the content that each read returns; the last one repeats."""
        self.pods: list[dict[str, Any]] = [POD]
        self.answers = True
        self.configure()

    def configure(
        self, *, key: str | None = KEY, resources: Any = RESOURCES, server: str = "staging"
    ) -> None:
        """Set the state and the settings of the stack."""
        config = reference() | {TOKEN: "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"}
        config["ephemeral-castle:traefik"]["acme"]["server"] = server
        if key:
            config["ephemeral-castle:sops"] = {"age_key": key}
            config["ephemeral-castle:traefik"]["acme"]["backup"] = {"target": str(self.backups)}
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
        secret = {TOKEN, "ephemeral-castle:sops"}
        printed = {k: {"value": v, "secret": k in secret} for k, v in texts.items()}
        self._fake.answers("config --json", printed)
        self._fake.answers("stack export", {"deployment": {"resources": resources}})

    def get(self, path: str) -> dict[str, Any]:
        """Answer a GET request to the Kubernetes API."""
        if not self.answers:
            raise KubernetesError("GET /", "https://vip:6443", "no answer in time")
        if "/pods" in path:
            assert path.endswith("?labelSelector=app.kubernetes.io/name%3Dtraefik")
            return {"items": self.pods}
        return {"major": "1"}

    def run(
        self, _: Any, namespace: str, pod: str, container: str, command: Any, *__: Any
    ) -> bytes:
        """Run a command in Traefik's pod."""
        assert (namespace, pod, container) == ("traefik", "traefik-0", "traefik")
        for file, contents in self.files.items():
            if command[-1].endswith(f" {file}"):
                return contents.pop(0) if len(contents) > 1 else contents[0]
        return b""

    def opened(self, server: str) -> bytes:
        """Return the decrypted backup for a Let's Encrypt server."""
        sealed = (self.backups / f"homelab-{server}.age").read_bytes()
        return certificate_backup.unseal(sealed, KEY)


@pytest.fixture
def cluster(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake_cluster = FakeCluster(fake, tmp_path)

    class Api(ClusterApi):
        def __init__(self) -> None:
            """Opens no connection."""

        def get(self, path: str) -> dict[str, Any] | None:
            return fake_cluster.get(path)

    monkeypatch.setattr(commands, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    # Proxmox has no orphaned resources.
    for name in ("find_orphans", "find_vms"):
        monkeypatch.setattr(f"commands.orphaned_resources.{name}", lambda *_: [])
    monkeypatch.setattr(ClusterApi, "of", lambda _: Api())
    monkeypatch.setattr(exec, "run", fake_cluster.run)
    monkeypatch.setattr(backup, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    monkeypatch.chdir(PROJECT_FOLDER)
    return fake_cluster


def test_the_files_of_both_servers_are_saved_encrypted_and_listed(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    production = acme_json("production", "tazlab.net", "*.tazlab.net")
    staging = acme_json("staging", "tazlab.net")
    cluster.files = {"/data/acme.json": [production], "/data/acme-staging.json": [staging]}
    assert commands.main(["backup"]) == 0
    assert cluster.opened("production") == production
    assert cluster.opened("staging") == staging
    shown = capfd.readouterr().out
    assert (
        "Saved for production: the ACME account and 2 certificates in "
        f"{cluster.backups}/homelab-production" in shown
    )
    assert "Saved for staging: the ACME account and 1 certificate in" in shown
    assert [it for it in (KEY, *secrets_of(production)) if it in shown] == []
    # Without a change the backup files stay the same.
    before = {it.name: it.read_bytes() for it in cluster.backups.iterdir()}
    assert commands.main(["backup"]) == 0
    assert {it.name: it.read_bytes() for it in cluster.backups.iterdir()} == before
    assert "homelab-production.age (unchanged)" in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b'{"letsencrypt": {"Account": null}}'])
def test_an_empty_acme_file_does_not_replace_a_backup(
    cluster: FakeCluster, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    good = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [good]}
    assert commands.main(["backup"]) == 0
    cluster.files = {"/data/acme.json": [content]}
    assert commands.main(["backup"]) == 0
    assert "nothing to back up" in capfd.readouterr().out
    assert cluster.opened("production") == good


def test_a_half_written_file_is_read_again(cluster: FakeCluster) -> None:
    whole = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [whole[:500], whole]}
    assert commands.main(["backup"]) == 0
    assert cluster.opened("production") == whole


def assert_refused(cluster: FakeCluster, capfd: pytest.CaptureFixture[str], reason: str) -> None:
    assert commands.main(["backup"]) == 1
    assert reason in capfd.readouterr().out
    assert not cluster.backups.exists()


def test_a_damaged_file_is_not_saved(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")[:500]]}
    assert_refused(
        cluster, capfd, "/data/acme.json cannot be read: it is not a file that Traefik wrote"
    )


def test_certificates_of_staging_are_not_saved_as_those_of_production(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net", at="staging")]}
    assert_refused(
        cluster, capfd, "/data/acme.json is the file for production, but has an account at acme-sta"
    )


def test_backup_reports_a_missing_pod_api_age_key_or_cluster(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.pods = [
        {"metadata": {"name": "a"}, "status": {"phase": "Pending"}},
        {"metadata": {"name": "b", "deletionTimestamp": "now"}, "status": {"phase": "Running"}},
    ]
    assert_refused(cluster, capfd, "no Traefik pod is running")
    cluster.answers = False
    assert_refused(cluster, capfd, "the Kubernetes API does not answer")
    cluster.configure(key=None)
    assert_refused(cluster, capfd, "To create one, run `make age-key STACK=homelab`.")
    cluster.configure(resources=[])
    assert_refused(cluster, capfd, "The stack homelab has no volume with certificates")


def test_down_saves_the_certificates_before_it_destroys(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    file = cluster.backups / "homelab-production.age"
    fake.does(f"sys.exit(arguments[0] == 'destroy' and not pathlib.Path({str(file)!r}).exists())")
    assert commands.main(["down", "--", "--yes"]) == 0
    assert "destroy --stack homelab --yes" in fake.words


def test_down_continues_without_a_backup_only_after_a_yes(
    cluster: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = False
    assert commands.main(["down"]) == 1
    assert fake.words == []
    shown = capfd.readouterr().out
    assert "cannot be saved: the Kubernetes API does not answer" in shown
    assert "Destroy the stack without a new backup? This is not a terminal" in shown
    assert commands.main(["down", "--", "--yes"]) == 0
    assert "destroy --stack homelab --yes" in fake.words


@pytest.mark.parametrize("has_key", [False, True])
def test_down_does_not_ask_without_an_age_key_or_certificates(
    cluster: FakeCluster, fake: Cli, has_key: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if has_key:
        cluster.configure(resources=[])
    else:
        cluster.configure(key=None)
    assert commands.main(["down"]) == 0
    assert any(words.startswith("destroy") for words in fake.words)
    shown = capfd.readouterr().out
    assert ("The certificates will be deleted with the stack" in shown) is not has_key


def test_down_with_preview_only_saves_nothing(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert commands.main(["down", "--", "--preview-only"]) == 0
    assert not cluster.backups.exists()


def test_up_saves_the_certificates_at_its_end_and_does_not_fail_without(
    cluster: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert commands.main(["up", "--", "--yes"]) == 0
    assert cluster.opened("production") == cluster.files["/data/acme.json"][0]
    cluster.answers = False
    assert commands.main(["up", "--", "--yes"]) == 0
    assert "could not be saved: the Kubernetes API does not answer" in capfd.readouterr().out
    cluster.configure(key=None)
    assert commands.main(["up", "--", "--yes"]) == 0
    assert capfd.readouterr().out == ""


def test_a_failed_up_saves_no_certificates(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    fake.answers("up --stack", code=1)
    assert commands.main(["up", "--", "--yes"]) == 1
    assert not cluster.backups.exists()


def test_a_backup_for_another_key_is_renamed_not_overwritten(cluster: FakeCluster) -> None:
    cluster.backups.mkdir()
    (cluster.backups / "homelab-production.age").write_bytes(b"for another key")
    content = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [content]}
    assert commands.main(["backup"]) == 0
    assert cluster.opened("production") == content
    assert (cluster.backups / "homelab-production.1.age").read_bytes() == b"for another key"


def test_a_backup_too_large_to_restore_is_reported(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certificate_backup, "MAX_BYTES", 100)
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert commands.main(["backup"]) == 0
    assert "a Kubernetes Secret can restore only 100" in capfd.readouterr().out


def test_up_records_names_and_dates_without_secrets(cluster: FakeCluster, tmp_path: Path) -> None:
    content = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [content]}
    cluster.configure(key=None)
    assert commands.main(["up", "--", "--yes"]) == 0
    record = acme_record.file(tmp_path, "homelab")
    assert json.loads(record.read_text()) == [
        {
            "server": "production",
            "names": ["tazlab.net"],
            "begins": "2026-11-01T00:00:00Z",
            "ends": "2027-01-30T00:00:00Z",
        }
    ]
    assert not cluster.backups.exists()


def test_a_traceback_shows_no_private_keys() -> None:
    content = acme_json("production", "tazlab.net")
    file = backup.AcmeFile("production", content, read(content))
    assert [secret for secret in secrets_of(content) if secret in repr(file)] == []


def test_no_record_is_written_without_certificates(tmp_path: Path) -> None:
    acme_record.keep(tmp_path, "homelab", [])
    assert list(tmp_path.iterdir()) == []
