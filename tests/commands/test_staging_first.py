"""``up`` asks before it uses Let's Encrypt production for a host without a certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.acme_json import Certificate
from commands import __main__ as commands
from commands import acme_record
from tests.backup.traefiks import BEGINS, ENDS, acme_json
from tests.commands.conftest import Cli
from tests.commands.test_backup import KEY, FakeCluster, cluster

__all__ = ["cluster"]
UP = "up --stack homelab --yes --skip-preview"
QUESTION = "No certificate of Let's Encrypt for tazlab.net is known yet, not even a staging one."


@pytest.fixture
def production(cluster: FakeCluster, tmp_path: Path) -> FakeCluster:
    """A cluster whose stack file names the production server; the host is tazlab.net."""
    cluster.configure(server="production")
    (tmp_path / "Pulumi.homelab.yaml").write_text(
        "config: {'ephemeral-castle:traefik': {acme: {server: production}}}"
    )
    return cluster


def test_up_asks_before_the_first_certificate_of_production_and_yes_answers(
    production: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["up"]) == 1
    assert fake.words == []
    shown = capfd.readouterr().out
    assert QUESTION in shown and "answer yes with ARGS=--yes" in shown
    assert commands.main(["up", "--", "--yes"]) == 0
    assert fake.words == [UP]


@pytest.mark.parametrize(
    ("signed", "is_good"),
    [
        ("tazlab.net", True),
        ("*.tazlab.net", False),
        ("*.net", True),
        ("lab.example.org tazlab.net", True),
        ("other.tazlab.net", False),
    ],
)
@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without"])
def test_up_does_not_ask_if_the_running_cluster_has_a_fitting_staging_certificate(
    production: FakeCluster,
    fake: Cli,
    signed: str,
    is_good: bool,
    key: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    production.configure(server="production", key=key)
    production.files = {"/data/acme-staging.json": [acme_json("staging", signed)]}
    assert (commands.main(["up"]) == 0) is is_good
    assert (QUESTION in capfd.readouterr().out) is not is_good


def test_up_does_not_ask_if_an_earlier_cluster_had_a_staging_certificate(
    production: FakeCluster, fake: Cli
) -> None:
    production.files = {"/data/acme-staging.json": [acme_json("staging", "tazlab.net")]}
    assert commands.main(["backup"]) == 0
    production.configure(server="production", resources=[])
    assert commands.main(["up"]) == 0


def test_up_does_not_ask_if_there_is_a_production_backup(
    production: FakeCluster, tmp_path: Path
) -> None:
    production.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert commands.main(["backup"]) == 0
    acme_record.file(tmp_path, "homelab").unlink()
    production.configure(server="production", resources=[])
    assert commands.main(["up"]) == 0


def test_up_does_not_ask_with_the_staging_server(cluster: FakeCluster, fake: Cli) -> None:
    cluster.configure(resources=[])
    assert commands.main(["up"]) == 0
    assert fake.words == [UP]


def test_the_record_has_the_newest_certificate_of_each_server_and_name(tmp_path: Path) -> None:
    old = acme_record.Signed(
        server="staging", certificate=Certificate(("tazlab.net",), BEGINS, BEGINS)
    )
    new = acme_record.Signed(
        server="staging", certificate=Certificate(("tazlab.net",), BEGINS, ENDS)
    )
    other = acme_record.Signed(server="production", certificate=new.certificate)
    acme_record.keep(tmp_path, "homelab", [old])
    acme_record.keep(tmp_path, "homelab", [new, other])
    assert acme_record.load(tmp_path, "homelab") == (new, other)
    assert acme_record.load(tmp_path, "ha") == ()
    acme_record.file(tmp_path, "homelab").write_text('[{"server": 1}]')
    assert acme_record.load(tmp_path, "homelab") == ()
