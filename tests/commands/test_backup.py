"""Certificates are taken out of the castle before it goes, and nothing stands in its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyrage
import pytest

from backup.acme_json import read
from clients.kubernetes import exec
from clients.kubernetes.api import ApiError, ClusterApi
from clients.pulumi_cli import session
from commands import __main__ as engine
from commands import acme_record, backup
from commands.helm_records import PROVIDER
from components.traefik import certificate_backup
from settings.load import TOKEN
from settings.project import PROJECT_FOLDER
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
    """A castle that stands: its API, and Traefik's files."""

    def __init__(self, fake: Cli, folder: Path) -> None:
        self._fake = fake
        self.kept = folder / "kept"
        self.files: dict[str, list[bytes]] = {}
        """By path: what each look finds, the last of it again and again."""
        self.pods: list[dict[str, Any]] = [POD]
        self.answers = True
        self.stands()

    def stands(
        self, *, key: str | None = KEY, resources: Any = RESOURCES, server: str = "staging"
    ) -> None:
        """The state, and the settings that it was built with."""
        config = reference() | {TOKEN: "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"}
        config["ephemeral-castle:traefik"]["acme"]["server"] = server
        if key:
            config["ephemeral-castle:sops"] = {"age_key": key}
            config["ephemeral-castle:traefik"]["acme"]["backup"] = {"target": str(self.kept)}
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
        secret = {TOKEN, "ephemeral-castle:sops"}
        said = {k: {"value": v, "secret": k in secret} for k, v in texts.items()}
        self._fake.answers("config --json", said)
        self._fake.answers("stack export", {"deployment": {"resources": resources}})

    def get(self, path: str) -> dict[str, Any]:
        """Answer as the API."""
        if not self.answers:
            raise ApiError("the Kubernetes API does not answer")
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
        """What is kept of a server."""
        sealed = (self.kept / f"homelab-{server}.age").read_bytes()
        return certificate_backup.unseal(sealed, KEY)


@pytest.fixture
def cluster(fake: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    found = FakeCluster(fake, tmp_path)

    class Api(ClusterApi):
        def __init__(self) -> None:
            """Nothing is asked over the network."""

        def get(self, path: str) -> dict[str, Any] | None:
            return found.get(path)

    for module in (engine, session):
        monkeypatch.setattr(module, "PROJECT_FOLDER", tmp_path)
    for name in ("recover", "down", "backup", "staging_first"):
        monkeypatch.setattr(f"commands.{name}.PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("backend: {url: 'file://./.state'}")
    (tmp_path / "Pulumi.homelab.yaml").write_text("config: {}")
    # Proxmox has nothing else of this castle.
    for name in ("look", "machines"):
        monkeypatch.setattr(f"commands.orphaned_resources.{name}", lambda *_: [])
    monkeypatch.setattr(ClusterApi, "of", lambda _: Api())
    monkeypatch.setattr(exec, "run", found.run)
    monkeypatch.setattr(backup, "PAUSE", 0)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)
    monkeypatch.chdir(PROJECT_FOLDER)
    return found


def test_both_servers_are_kept_encrypted_and_said(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    production = acme_json("production", "tazlab.net", "*.tazlab.net")
    staging = acme_json("staging", "tazlab.net")
    cluster.files = {"/data/acme.json": [production], "/data/acme-staging.json": [staging]}
    assert engine.main(["backup"]) == 0
    assert cluster.opened("production") == production
    assert cluster.opened("staging") == staging
    shown = capfd.readouterr().out
    assert (
        f"production: the account and 2 certificates in {cluster.kept}/homelab-production" in shown
    )
    assert "staging: the account and 1 certificate in" in shown
    assert [it for it in (KEY, *secrets_of(production)) if it in shown] == []
    # The same again is no new one.
    before = {it.name: it.read_bytes() for it in cluster.kept.iterdir()}
    assert engine.main(["backup"]) == 0
    assert {it.name: it.read_bytes() for it in cluster.kept.iterdir()} == before
    assert "homelab-production.age, as before" in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b'{"letsencrypt": {"Account": null}}'])
def test_an_empty_castle_takes_the_place_of_nothing(
    cluster: FakeCluster, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    good = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [good]}
    assert engine.main(["backup"]) == 0
    cluster.files = {"/data/acme.json": [content]}
    assert engine.main(["backup"]) == 0
    assert "there is nothing to keep" in capfd.readouterr().out
    assert cluster.opened("production") == good


def test_a_file_that_is_being_written_is_looked_at_again(cluster: FakeCluster) -> None:
    whole = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [whole[:500], whole]}
    assert engine.main(["backup"]) == 0
    assert cluster.opened("production") == whole


def assert_refused(cluster: FakeCluster, capfd: pytest.CaptureFixture[str], reason: str) -> None:
    assert engine.main(["backup"]) == 1
    assert reason in capfd.readouterr().out
    assert not cluster.kept.exists()


def test_a_file_that_stays_broken_is_not_kept(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")[:500]]}
    assert_refused(
        cluster, capfd, "/data/acme.json cannot be read: it is not a file that Traefik wrote"
    )


def test_what_staging_signed_is_never_productions(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net", at="staging")]}
    assert_refused(
        cluster, capfd, "/data/acme.json is production's, but has an account at acme-sta"
    )


def test_without_a_pod_or_an_api_or_a_key_or_a_castle_the_reason_is_said(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.pods = [
        {"metadata": {"name": "a"}, "status": {"phase": "Pending"}},
        {"metadata": {"name": "b", "deletionTimestamp": "now"}, "status": {"phase": "Running"}},
    ]
    assert_refused(cluster, capfd, "no pod of Traefik is running")
    cluster.answers = False
    assert_refused(cluster, capfd, "the Kubernetes API does not answer")
    cluster.stands(key=None)
    assert_refused(cluster, capfd, "`make age-key STACK=homelab` makes one")
    cluster.stands(resources=[])
    assert_refused(cluster, capfd, "There is no castle homelab")


def test_down_keeps_them_before_anything_goes(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    file = cluster.kept / "homelab-production.age"
    fake.does(f"sys.exit(arguments[0] == 'destroy' and not pathlib.Path({str(file)!r}).exists())")
    assert engine.main(["down", "--", "--yes"]) == 0
    assert "destroy --stack homelab --yes" in fake.words


def test_down_goes_on_without_them_only_where_somebody_says_so(
    cluster: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = False
    assert engine.main(["down"]) == 1
    assert fake.words == []
    said = capfd.readouterr().out
    assert "cannot be kept: the Kubernetes API does not answer" in said
    assert "Take the castle down all the same? Nobody is there to ask" in said
    assert engine.main(["down", "--", "--yes"]) == 0
    assert "destroy --stack homelab --yes" in fake.words


@pytest.mark.parametrize("has_key", [False, True])
def test_down_asks_nothing_where_there_is_nothing_to_keep(
    cluster: FakeCluster, fake: Cli, has_key: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if has_key:
        cluster.stands(resources=[])
    else:
        cluster.stands(key=None)
    assert engine.main(["down"]) == 0
    assert any(words.startswith("destroy") for words in fake.words)
    shown = capfd.readouterr().out
    assert ("The certificates go with the castle" in shown) is not has_key


def test_a_look_at_what_would_go_takes_nothing_out(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert engine.main(["down", "--", "--preview-only"]) == 0
    assert not cluster.kept.exists()


def test_up_keeps_them_at_its_end_and_never_fails_for_it(
    cluster: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert engine.main(["up", "--", "--yes"]) == 0
    assert cluster.opened("production") == cluster.files["/data/acme.json"][0]
    cluster.answers = False
    assert engine.main(["up", "--", "--yes"]) == 0
    assert "could not be kept: the Kubernetes API does not answer" in capfd.readouterr().out
    cluster.stands(key=None)
    assert engine.main(["up", "--", "--yes"]) == 0
    assert capfd.readouterr().out == ""


def test_an_up_that_failed_is_not_waited_for(cluster: FakeCluster, fake: Cli) -> None:
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    fake.answers("up --stack", code=1)
    assert engine.main(["up", "--", "--yes"]) == 1
    assert not cluster.kept.exists()


def test_a_new_key_makes_an_older_one_of_what_it_cannot_open(cluster: FakeCluster) -> None:
    cluster.kept.mkdir()
    (cluster.kept / "homelab-production.age").write_bytes(b"for another key")
    content = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [content]}
    assert engine.main(["backup"]) == 0
    assert cluster.opened("production") == content
    assert (cluster.kept / "homelab-production.1.age").read_bytes() == b"for another key"


def test_more_than_can_be_put_back_is_said_while_there_is_time(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certificate_backup, "MOST", 100)
    cluster.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert engine.main(["backup"]) == 0
    assert "only 100 can be put back" in capfd.readouterr().out


def test_names_and_dates_are_noted_and_nothing_secret(cluster: FakeCluster, tmp_path: Path) -> None:
    content = acme_json("production", "tazlab.net")
    cluster.files = {"/data/acme.json": [content]}
    cluster.stands(key=None)
    assert engine.main(["up", "--", "--yes"]) == 0
    record = acme_record.file(tmp_path, "homelab")
    assert json.loads(record.read_text()) == [
        {
            "server": "production",
            "names": ["tazlab.net"],
            "begins": "2026-11-01T00:00:00+00:00",
            "ends": "2027-01-30T00:00:00+00:00",
        }
    ]
    assert not cluster.kept.exists()


def test_what_is_in_memory_does_not_show_in_a_traceback() -> None:
    content = acme_json("production", "tazlab.net")
    found = backup.Found("production", content, read(content))
    assert [secret for secret in secrets_of(content) if secret in repr(found)] == []


def test_of_nothing_signed_there_is_no_record(tmp_path: Path) -> None:
    acme_record.keep(tmp_path, "homelab", [])
    assert list(tmp_path.iterdir()) == []
