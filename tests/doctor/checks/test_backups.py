"""The doctor's check of backup targets."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyrage
import pytest

from doctor.findings import Finding, Result
from tests.doctor.homelab import FakeHomelab

KEY = str(pyrage.x25519.Identity.generate())
ACCOUNT = {"access_key": "castle", "secret_key": "5eed1e55cafe4bad8bad"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discard Pulumi's warning about the plain-text keys in these settings."""
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)


async def findings_of(homelab: FakeHomelab, **probes: Any) -> list[Finding]:
    (found,) = [it for it in await homelab.collect_findings(**probes) if it.check == "backups"]
    return list(found.findings)


async def test_data_without_a_backup_is_a_note(homelab: FakeHomelab) -> None:
    found = await findings_of(homelab)
    assert [(it.result, it.subject) for it in found] == [
        (Result.NOTE, "volumes"),
        (Result.NOTE, "site certificates"),
    ]


async def test_an_nfs_share_and_an_s3_server_that_answer_are_ok(homelab: FakeHomelab) -> None:
    asked: list[tuple[str, int]] = []
    homelab.set("sops.age_key", KEY)
    homelab.set("longhorn.backup", {"target": "nfs://nas.home.arpa:/backups"})
    homelab.set("traefik.acme.backup", {"target": "s3://castle@home/"})
    for endpoint in ("https://s3.tazlab.net", "http://s3.tazlab.net", "https://nas.home.arpa:9000"):
        homelab.set("s3", {"endpoint": endpoint, **ACCOUNT})
        found = await findings_of(homelab, connect=lambda host, port: asked.append((host, port)))
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


async def test_a_folder_that_does_not_answer_is_a_warning(
    homelab: FakeHomelab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.store.ANSWER_LIMIT", 0.1)
    is_there, is_dir = threading.Event(), Path.is_dir
    monkeypatch.setattr(
        Path, "is_dir", lambda path: is_there.wait(60) if path == tmp_path else is_dir(path)
    )
    homelab.set("sops.age_key", KEY)
    homelab.set("traefik.acme.backup", {"target": str(tmp_path)})
    finding = (await findings_of(homelab))[-1]
    is_there.set()
    assert finding.result is Result.WARNING
    assert finding.text == "does not answer within 0.1 s: is its server on?"


async def test_an_nfs_share_that_does_not_answer_is_a_warning(homelab: FakeHomelab) -> None:
    homelab.set("longhorn.backup", {"target": f"nfs://{homelab.address(9)}:/backups"})
    finding = (await findings_of(homelab))[0]
    assert finding.result is Result.WARNING
    assert finding.text == "does not answer at port 2049: Connection refused"


async def test_a_missing_folder_with_an_absolute_path_is_a_warning(
    homelab: FakeHomelab, tmp_path: Path
) -> None:
    homelab.set("sops.age_key", KEY)
    for folder, result in ((tmp_path, Result.OK), (tmp_path / "nas", Result.WARNING)):
        homelab.set("traefik.acme.backup", {"target": str(folder)})
        finding = (await findings_of(homelab))[1]
        assert (finding.result, finding.subject) == (result, str(folder))
