"""Traefik: what is asked for, and what its volume is before it starts."""

from __future__ import annotations

import os
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pulumi
import pyrage
import pytest
from pydantic import SecretStr

from components.shared import acme
from components.traefik import traefik
from rehearsal.record import Recording
from rehearsal.values import Secret
from settings.chart_source import ChartSource
from settings.charts import DnsChallenge
from tests.recorder import one, record, sent, settings_with

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


def built(kept: dict[str, str] | None, dns: DnsChallenge | None = None) -> Recording:
    """What the component asks for."""

    def build() -> object:
        provider = pulumi.ProviderResource("kubernetes", "kubernetes", {})
        wanted = replace(args(kept), dns=dns)
        return traefik.Traefik("traefik", wanted, pulumi.ResourceOptions(providers=[provider]))

    return record(build)


def test_what_is_kept_is_a_secret_and_there_before_traefik() -> None:
    recording = built(KEPT)
    secret, release = one(recording, "traefik-backup"), one(recording, "traefik-release")
    assert isinstance(secret.inputs["data"], Secret)
    data = {name: b64decode(text).decode() for name, text in sent(secret)["data"].items()}
    assert data == KEPT
    assert secret.urn in recording.before(release)
    # What is kept from now on is no change to this castle.
    assert secret.ignore_changes == ("data",)
    (volume,) = sent(release)["values"]["deployment"]["additionalVolumes"]
    assert volume["secret"]["secretName"] == sent(secret)["metadata"]["name"]


def test_a_first_castle_with_a_key_has_the_secret_too_and_one_without_has_none() -> None:
    assert sent(one(built({}), "traefik-backup"))["data"] == {}
    recording = built(None)
    assert [it for it in recording.resources if it.name == "traefik-backup"] == []
    assert (
        "additionalVolumes" not in sent(one(recording, "traefik-release"))["values"]["deployment"]
    )


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


# By the DNS ---------------------------------------------------------------------------------------

TOKEN = "5eed1e55cafe4bad8badc0ffee123456"
DNS = DnsChallenge.model_validate(
    {
        "provider": "cloudflare",
        "credentials": {"CF_DNS_API_TOKEN": f"{TOKEN}\n"},
        "resolvers": ["1.1.1.1", "9.9.9.9"],
        "delay_s": 30,
        "wildcards": ["tazlab.net", "lab.example.org"],
    }
)


def by_dns(**changes: Any) -> dict[str, Any]:
    return traefik.values(replace(args(None), dns=DNS.model_copy(update=changes)))


def test_the_dns_is_asked_in_place_of_port_80() -> None:
    acme = by_dns()["certificatesResolvers"]["letsencrypt"]["acme"]
    assert "httpChallenge" not in acme
    assert acme["dnsChallenge"] == {
        "provider": "cloudflare",
        "resolvers": ["1.1.1.1:53", "9.9.9.9:53"],
        "propagation": {"delayBeforeChecks": "30s"},
    }
    least = by_dns(resolvers=(), delay_s=0, wildcards=())
    assert least["certificatesResolvers"]["letsencrypt"]["acme"]["dnsChallenge"] == {
        "provider": "cloudflare"
    }
    assert "domains" not in least["ports"]["websecure"]["http"]["tls"]
    over_http = traefik.values(args(None))
    acme = over_http["certificatesResolvers"]["letsencrypt"]["acme"]
    assert acme["httpChallenge"] == {"entryPoint": "web"} and "dnsChallenge" not in acme
    assert "envFrom" not in over_http


def test_the_credentials_are_a_secret_that_only_traefiks_environment_has() -> None:
    recording = built(None, DNS)
    secret, release = one(recording, "traefik-dns"), one(recording, "traefik-release")
    assert isinstance(secret.inputs["data"], Secret)
    data = sent(secret)["data"]
    assert {name: b64decode(text).decode() for name, text in data.items()} == {
        "CF_DNS_API_TOKEN": TOKEN
    }
    # A new token is a change; what is kept is none.
    assert not secret.ignore_changes
    assert secret.urn in recording.before(release)
    values = sent(release)["values"]
    assert values["envFrom"] == [{"secretRef": {"name": sent(secret)["metadata"]["name"]}}]
    assert TOKEN not in str(values)


def test_another_token_makes_another_pod() -> None:
    def annotation(token: str) -> str:
        changed = by_dns(credentials={"CF_DNS_API_TOKEN": SecretStr(token)})
        return str(changed["deployment"]["podAnnotations"])

    assert annotation("one") == annotation("one") != annotation("two")


@pytest.mark.parametrize(
    ("host", "main"),
    [
        ("tazlab.net", "tazlab.net"),
        ("whoami.tazlab.net", "tazlab.net"),
        ("a.b.tazlab.net", None),
        ("tazlab.org", None),
    ],
)
def test_a_route_takes_the_wildcard_that_is_good_for_it(host: str, main: str | None) -> None:
    found = acme.domains(DNS, host)
    assert found == ({"domains": [{"main": main, "sans": [f"*.{main}"]}]} if main else {})
    assert [it["main"] for it in acme.domains(DNS)["domains"]] == list(DNS.wildcards)


def test_arguments_read_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``acme_backup.read_certificates`` does: who makes arguments opens no folder and no bucket."""

    def read(*_: Any) -> None:
        raise AssertionError("the backup was read")

    monkeypatch.setattr("backup.store.Folder.read", read)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)  # the key stands in plain text
    target = {"acme": {"backup": {"target": str(tmp_path)}}}
    key = str(pyrage.x25519.Identity.generate())
    settings = settings_with(traefik=target, sops={"age_key": key})
    found = traefik.TraefikArgs.of(settings, "longhorn", [], KEPT)
    assert found.kept == KEPT
