"""Traefik: what is asked for, and what its volume is before it starts."""

from __future__ import annotations

import os
import subprocess
from base64 import b64decode, b64encode
from ipaddress import IPv4Address
from pathlib import Path

import pulumi
import pytest

from components import traefik
from components.chart import ChartSource
from rehearsal.record import Castle
from rehearsal.values import Secret
from tests.recorder import one, record, sent

KEPT = {"acme.json": '{"letsencrypt": "production\u00e9"}\n', "acme-staging.json": "{}"}


def args(kept: dict[str, str] | None) -> traefik.TraefikArgs:
    return traefik.TraefikArgs(
        chart=ChartSource(name="traefik", version="41.3.0", repository="https://charts.example"),
        exposure="load-balancer",
        address=IPv4Address("192.168.1.240"),
        storage_class="longhorn",
        after=[],
        acme_email="me@tazlab.net",
        acme_server="production",
        kept=kept,
    )


def built(kept: dict[str, str] | None) -> Castle:
    """What the component asks for."""

    def build() -> object:
        provider = pulumi.ProviderResource("kubernetes", "kubernetes", {})
        return traefik.Traefik("traefik", args(kept), pulumi.ResourceOptions(providers=[provider]))

    return record(build)


def test_what_is_kept_is_a_secret_and_there_before_traefik() -> None:
    castle = built(KEPT)
    secret, release = one(castle, "traefik-backup"), one(castle, "traefik-release")
    assert isinstance(secret.inputs["data"], Secret)
    data = {name: b64decode(text).decode() for name, text in sent(secret)["data"].items()}
    assert data == KEPT
    assert secret.urn in castle.before(release)
    # What is kept from now on is no change to this castle.
    assert secret.ignore_changes == ("data",)
    (volume,) = sent(release)["values"]["deployment"]["additionalVolumes"]
    assert volume["secret"]["secretName"] == sent(secret)["metadata"]["name"]


def test_a_first_castle_with_a_key_has_the_secret_too_and_one_without_has_none() -> None:
    assert sent(one(built({}), "traefik-backup"))["data"] == {}
    castle = built(None)
    assert [it for it in castle.resources if it.name == "traefik-backup"] == []
    assert "additionalVolumes" not in sent(one(castle, "traefik-release"))["values"]["deployment"]


@pytest.fixture
def prepare(tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """The volume, the backup, and the script between them, as far as one may without root."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    backup.mkdir()
    (container,) = traefik.values(args(KEPT))["deployment"]["initContainers"]
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    script = container["command"][2]
    assert script.count("65532:65532") == 1
    script = script.replace("65532:65532", f"{os.getuid()}:{os.getgid()}")
    script = script.replace(mounts["data"], str(data)).replace(mounts["backup"], str(backup))
    return data, backup, [*container["command"][:2], script]


def mount(backup: Path, files: dict[str, str]) -> None:
    """Put files there as the kubelet mounts a secret: links, and read-only."""
    (backup / "..data").mkdir()
    for name, text in files.items():
        (backup / "..data" / name).write_text(text, encoding="utf-8")
        (backup / "..data" / name).chmod(0o400)
        (backup / name).symlink_to(Path("..data") / name)


def contents(data: Path) -> dict[str, str]:
    """What the volume has; every file is a file, and Traefik's alone."""
    assert {it.lstat().st_mode for it in data.iterdir()} <= {0o100600}
    return {it.name: it.read_text(encoding="utf-8") for it in data.iterdir()}


def test_a_new_volume_gets_what_was_kept(prepare: tuple[Path, Path, list[str]]) -> None:
    data, backup, command = prepare
    mount(backup, KEPT)
    subprocess.run(command, check=True)
    assert contents(data) == KEPT
    subprocess.run(command, check=True)
    assert contents(data) == KEPT


def test_a_used_volume_keeps_its_own(prepare: tuple[Path, Path, list[str]]) -> None:
    data, backup, command = prepare
    mount(backup, KEPT)
    (data / "acme.json").write_text("renewed since")
    # Traefik makes it before it has anything; and a node that lost power may leave it so.
    (data / "acme-staging.json").touch()
    subprocess.run(command, check=True)
    expected = {"acme.json": "renewed since", "acme-staging.json": KEPT["acme-staging.json"]}
    assert contents(data) == expected


def test_a_first_castle_has_an_empty_volume(prepare: tuple[Path, Path, list[str]]) -> None:
    data, _, command = prepare
    subprocess.run(command, check=True)
    assert contents(data) == {}


def test_traefik_does_not_start_where_nothing_could_be_put_back(
    prepare: tuple[Path, Path, list[str]],
) -> None:
    data, backup, command = prepare
    mount(backup, KEPT)
    (data / "acme.json.new").mkdir()  # cp has no file to write
    (data / "acme.json.new" / "acme.json").mkdir()
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    assert not (data / "acme.json").exists()


def test_base64_is_what_the_provider_would_make() -> None:
    data = sent(one(built(KEPT), "traefik-backup"))["data"]
    assert data["acme-staging.json"] == b64encode(b"{}").decode()
