"""Production is used once staging has worked for the host, or by explicit wish."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.acme_json import Certificate
from commands import __main__ as engine
from commands import acme_record
from tests.backup.traefiks import BEGINS, ENDS, acme_json
from tests.commands.conftest import Cli
from tests.commands.test_backup import KEY, FakeCluster, cluster

__all__ = ["cluster"]
UP = "up --stack homelab --yes --skip-preview"
ASKED = "Let's Encrypt's staging server has not signed for tazlab.net yet"


@pytest.fixture
def production(cluster: FakeCluster, tmp_path: Path) -> FakeCluster:
    """A castle whose stack file asks for production; the host is tazlab.net."""
    cluster.stands(server="production")
    (tmp_path / "Pulumi.homelab.yaml").write_text(
        "config: {'ephemeral-castle:traefik': {acme: {server: production}}}"
    )
    return cluster


def test_without_a_try_it_is_asked_about_and_yes_is_a_wish(
    production: FakeCluster, fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    assert engine.main(["up"]) == 1
    assert fake.words == []
    said = capfd.readouterr().out
    assert ASKED in said and "say yes with ARGS=--yes" in said
    assert engine.main(["up", "--", "--yes"]) == 0
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
def test_what_staging_signed_in_the_castle_that_stands_counts(
    production: FakeCluster,
    fake: Cli,
    signed: str,
    is_good: bool,
    key: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    production.stands(server="production", key=key)
    production.files = {"/data/acme-staging.json": [acme_json("staging", signed)]}
    assert (engine.main(["up"]) == 0) is is_good
    assert (ASKED in capfd.readouterr().out) is not is_good


def test_what_worked_before_counts_when_the_castle_is_gone(
    production: FakeCluster, fake: Cli
) -> None:
    production.files = {"/data/acme-staging.json": [acme_json("staging", "tazlab.net")]}
    assert engine.main(["backup"]) == 0
    production.stands(server="production", resources=[])
    assert engine.main(["up"]) == 0


def test_what_production_signed_on_another_machine_counts(
    production: FakeCluster, tmp_path: Path
) -> None:
    production.files = {"/data/acme.json": [acme_json("production", "tazlab.net")]}
    assert engine.main(["backup"]) == 0
    acme_record.file(tmp_path, "homelab").unlink()
    production.stands(server="production", resources=[])
    assert engine.main(["up"]) == 0


def test_staging_is_asked_nothing(cluster: FakeCluster, fake: Cli) -> None:
    cluster.stands(resources=[])
    assert engine.main(["up"]) == 0
    assert fake.words == [UP]


def test_a_record_remembers_names_and_dates_the_newest_of_each(tmp_path: Path) -> None:
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
