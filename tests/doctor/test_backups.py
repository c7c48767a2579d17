"""The doctor tells where backups go, and whether anybody answers there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyrage
import pytest

from doctor.findings import Finding, Result
from tests.doctor.house import FakeHomelab

KEY = str(pyrage.x25519.Identity.generate())
ACCOUNT = {"access_key": "castle", "secret_key": "5eed1e55cafe4bad8bad"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of these settings stand in plain text, which is warned of."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


async def told(house: FakeHomelab, **probes: Any) -> list[Finding]:
    (found,) = [one for one in await house.examine(**probes) if one.check == "backups"]
    return list(found.findings)


async def test_what_goes_with_the_castle_is_said(house: FakeHomelab) -> None:
    found = await told(house)
    assert [(it.result, it.subject) for it in found] == [
        (Result.NOTE, "volumes"),
        (Result.NOTE, "certificates"),
    ]


async def test_a_share_and_a_server_that_answer_are_well(house: FakeHomelab) -> None:
    asked: list[tuple[str, int]] = []
    house.set("sops.age_key", KEY)
    house.set("longhorn.backup", {"target": "nfs://nas.home.arpa:/backups"})
    house.set("traefik.acme.backup", {"target": "s3://castle@home/"})
    for endpoint in ("https://s3.tazlab.net", "http://s3.tazlab.net", "https://nas.home.arpa:9000"):
        house.set("s3", {"endpoint": endpoint, **ACCOUNT})
        found = await told(house, connect=lambda host, port: asked.append((host, port)))
        assert [(it.result, it.subject) for it in found] == [
            (Result.OK, "nfs://nas.home.arpa:/backups"),
            (Result.OK, endpoint),
        ]
    nas = ("nas.home.arpa", 2049)
    assert asked == [
        *(nas, ("s3.tazlab.net", 443)),
        *(nas, ("s3.tazlab.net", 80)),
        *(nas, ("nas.home.arpa", 9000)),
    ]


async def test_a_folder_that_blocks_whoever_asks_is_a_warning(
    house: FakeHomelab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.store.ANSWER_LIMIT", 0.1)
    is_there, is_dir = threading.Event(), Path.is_dir
    monkeypatch.setattr(
        Path, "is_dir", lambda path: is_there.wait(60) if path == tmp_path else is_dir(path)
    )
    house.set("sops.age_key", KEY)
    house.set("traefik.acme.backup", {"target": str(tmp_path)})
    finding = (await told(house))[-1]
    is_there.set()
    assert finding.result is Result.WARNING
    assert finding.text == "does not answer within 0.1 s: is its server on?"


async def test_a_share_that_is_silent_is_a_warning(house: FakeHomelab) -> None:
    house.set("longhorn.backup", {"target": f"nfs://{house.address(9)}:/backups"})
    finding = (await told(house))[0]
    assert finding.result is Result.WARNING
    assert finding.text == "does not answer at port 2049: Connection refused"


async def test_a_folder_elsewhere_must_be_there(house: FakeHomelab, tmp_path: Path) -> None:
    house.set("sops.age_key", KEY)
    for folder, result in ((tmp_path, Result.OK), (tmp_path / "nas", Result.WARNING)):
        house.set("traefik.acme.backup", {"target": str(folder)})
        finding = (await told(house))[1]
        assert (finding.result, finding.subject) == (result, str(folder))
