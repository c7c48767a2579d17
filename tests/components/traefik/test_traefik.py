"""The Traefik component: resources, chart values, and the script that prepares its volume."""

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
from tests.components.charts import traefik_values
from tests.recorder import one, record, sent, settings_with

BACKUP = {"acme.json": '{"letsencrypt": "production\u00e9"}\n', "acme-staging.json": "{}"}


def args(certificates: dict[str, str] | None) -> traefik.TraefikArgs:
    return traefik.TraefikArgs(
        chart=ChartSource(name="traefik", version="41.3.0", repository="https://charts.example"),
        exposure="load-balancer",
        address=IPv4Address("192.168.1.240"),
        storage_class="longhorn",
        after=[],
        acme_email="me@tazlab.net",
        acme_server="production",
        certificates=certificates,
    )


def recording_of(certificates: dict[str, str] | None, dns: DnsChallenge | None = None) -> Recording:
    """Record the resources of the component."""

    def build() -> object:
        provider = pulumi.ProviderResource("kubernetes", "kubernetes", {})
        options = pulumi.ResourceOptions(providers=[provider])
        return traefik.Traefik("traefik", replace(args(certificates), dns=dns), options)

    return record(build)


def test_the_backup_is_a_secret_that_exists_before_the_release() -> None:
    recording = recording_of(BACKUP)
    secret, release = one(recording, "traefik-backup"), one(recording, "traefik-release")
    assert isinstance(secret.inputs["data"], Secret)
    data = {name: b64decode(text).decode() for name, text in sent(secret)["data"].items()}
    assert data == BACKUP
    assert secret.urn in recording.before(release)
    # Later backups must not change the Secret.
    assert secret.ignore_changes == ("data",)
    (volume,) = sent(release)["values"]["deployment"]["additionalVolumes"]
    assert volume["secret"]["secretName"] == sent(secret)["metadata"]["name"]


def test_the_secret_exists_without_a_backup_but_not_without_an_age_key() -> None:
    assert sent(one(recording_of({}), "traefik-backup"))["data"] == {}
    recording = recording_of(None)
    assert [it for it in recording.resources if it.name == "traefik-backup"] == []
    assert (
        "additionalVolumes" not in sent(one(recording, "traefik-release"))["values"]["deployment"]
    )


@pytest.fixture
def init_script(tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """Folders for the volume and the backup, and the init command changed to run without root."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    backup.mkdir()
    (container,) = traefik.values(args(BACKUP))["deployment"]["initContainers"]
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    script = container["command"][2]
    assert script.count("65532:65532") == 1
    script = script.replace("65532:65532", f"{os.getuid()}:{os.getgid()}")
    script = script.replace(mounts["data"], str(data)).replace(mounts["backup"], str(backup))
    return data, backup, [*container["command"][:2], script]


def mount(backup: Path, files: dict[str, str]) -> None:
    """Create the files as the kubelet mounts a Secret: symbolic links to read-only files."""
    (backup / "..data").mkdir()
    for name, text in files.items():
        (backup / "..data" / name).write_text(text, encoding="utf-8")
        (backup / "..data" / name).chmod(0o400)
        (backup / name).symlink_to(Path("..data") / name)


def contents(data: Path) -> dict[str, str]:
    """Read the files of the volume; all must be regular files with mode 0600."""
    assert {it.lstat().st_mode for it in data.iterdir()} <= {0o100600}
    return {it.name: it.read_text(encoding="utf-8") for it in data.iterdir()}


def test_the_backup_is_restored_to_an_empty_volume(
    init_script: tuple[Path, Path, list[str]],
) -> None:
    data, backup, command = init_script
    mount(backup, BACKUP)
    subprocess.run(command, check=True)
    assert contents(data) == BACKUP
    subprocess.run(command, check=True)
    assert contents(data) == BACKUP


def test_existing_certificates_are_not_overwritten(
    init_script: tuple[Path, Path, list[str]],
) -> None:
    data, backup, command = init_script
    mount(backup, BACKUP)
    (data / "acme.json").write_text("renewed since")
    # Traefik creates an empty file first, and a power failure may leave it empty.
    (data / "acme-staging.json").touch()
    subprocess.run(command, check=True)
    expected = {"acme.json": "renewed since", "acme-staging.json": BACKUP["acme-staging.json"]}
    assert contents(data) == expected


def test_the_volume_stays_empty_without_a_backup(init_script: tuple[Path, Path, list[str]]) -> None:
    data, _, command = init_script
    subprocess.run(command, check=True)
    assert contents(data) == {}


def test_traefik_does_not_start_if_the_restore_fails(
    init_script: tuple[Path, Path, list[str]],
) -> None:
    data, backup, command = init_script
    mount(backup, BACKUP)
    (data / "acme.json.new").mkdir()  # cp has no file to write
    (data / "acme.json.new" / "acme.json").mkdir()
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    assert not (data / "acme.json").exists()


def test_the_data_of_the_secret_is_base64() -> None:
    data = sent(one(recording_of(BACKUP), "traefik-backup"))["data"]
    assert data["acme-staging.json"] == b64encode(b"{}").decode()


# DNS-01 -------------------------------------------------------------------------------------------

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


def dns_values(**changes: Any) -> dict[str, Any]:
    return traefik.values(replace(args(None), dns=DNS.model_copy(update=changes)))


def test_dns_settings_replace_http_01_by_dns_01() -> None:
    acme = dns_values()["certificatesResolvers"]["letsencrypt"]["acme"]
    assert "httpChallenge" not in acme
    assert acme["dnsChallenge"] == {
        "provider": "cloudflare",
        "resolvers": ["1.1.1.1:53", "9.9.9.9:53"],
        "propagation": {"requireAllRNS": False, "delayBeforeChecks": "30s"},
    }
    minimal = dns_values(resolvers=(), delay_s=0, wildcards=())
    assert minimal["certificatesResolvers"]["letsencrypt"]["acme"]["dnsChallenge"] == {
        "provider": "cloudflare",
        "propagation": {"requireAllRNS": False},
    }
    assert "domains" not in minimal["ports"]["websecure"]["http"]["tls"]
    over_http = traefik.values(args(None))
    acme = over_http["certificatesResolvers"]["letsencrypt"]["acme"]
    assert acme["httpChallenge"] == {"entryPoint": "web"} and "dnsChallenge" not in acme
    assert "envFrom" not in over_http


def test_the_dns_credentials_are_in_a_secret_and_not_in_the_chart_values() -> None:
    recording = recording_of(None, DNS)
    secret, release = one(recording, "traefik-dns"), one(recording, "traefik-release")
    assert isinstance(secret.inputs["data"], Secret)
    data = sent(secret)["data"]
    assert {name: b64decode(text).decode() for name, text in data.items()} == {
        "CF_DNS_API_TOKEN": TOKEN
    }
    # Unlike the backup, a new token must change the Secret.
    assert not secret.ignore_changes
    assert secret.urn in recording.before(release)
    values = sent(release)["values"]
    assert values["envFrom"] == [{"secretRef": {"name": sent(secret)["metadata"]["name"]}}]
    assert TOKEN not in str(values)


def test_a_new_token_restarts_the_pod() -> None:
    def annotation(token: str) -> str:
        changed = dns_values(credentials={"CF_DNS_API_TOKEN": SecretStr(token)})
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
def test_a_route_requests_only_a_wildcard_that_includes_its_host(
    host: str, main: str | None
) -> None:
    requested = acme.domains(DNS, host)
    assert requested == ({"domains": [{"main": main, "sans": [f"*.{main}"]}]} if main else {})
    assert [it["main"] for it in acme.domains(DNS)["domains"]] == list(DNS.wildcards)


def test_traefik_args_do_not_read_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only ``certificate_backup.read_certificates`` opens the folder or bucket."""

    def read(*_: Any) -> None:
        raise AssertionError("the backup was read")

    monkeypatch.setattr("backup.store.FolderStore.read", read)
    monkeypatch.setattr("pulumi.log.warn", lambda _: None)  # warns of the plain-text age key
    target = {"acme": {"backup": {"target": str(tmp_path)}}}
    key = str(pyrage.x25519.Identity.generate())
    settings = settings_with(traefik=target, sops={"age_key": key})
    arguments = traefik.TraefikArgs.of(settings, "longhorn", [], BACKUP)
    assert arguments.certificates == BACKUP


# Exposure and certificates ------------------------------------------------------------------------


def test_traefik_behind_metallb_has_a_fixed_address_and_deletes_its_old_pod_first() -> None:
    values = traefik_values("load-balancer")
    assert values["service"] == {
        "annotations": {"metallb.io/loadBalancerIPs": "192.168.1.240"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    }
    assert values["updateStrategy"]["type"] == "Recreate"
    assert "hostNetwork" not in values and "nodeSelector" not in values


def test_traefik_in_the_host_network_uses_ports_80_and_443_of_a_control_plane() -> None:
    values = traefik_values("host-network")
    assert values["hostNetwork"] is True
    assert values["deployment"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert values["ports"]["web"]["hostPort"] == values["ports"]["web"]["port"] == 80
    assert values["ports"]["websecure"]["hostPort"] == values["ports"]["websecure"]["port"] == 443
    assert values["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert "node-role.kubernetes.io/control-plane" in values["nodeSelector"]
    assert values["service"] == {"enabled": False}


def test_the_init_script_makes_the_files_private(tmp_path: Path) -> None:
    """Runs the script, changed to run without root, on an empty volume and on one with files."""
    (container,) = traefik_values("load-balancer")["deployment"]["initContainers"]
    script = container["command"][2].replace("/data", str(tmp_path))
    script = script.replace("65532:65532", f"{os.getuid()}:{os.getgid()}")
    subprocess.run(["sh", "-c", script], check=True)
    assert list(tmp_path.iterdir()) == []
    files = {"acme.json": b'{"letsencrypt": 1}', "acme-staging.json": b"{}"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o644)
    subprocess.run(["sh", "-c", script], check=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_staging_and_production_certificates_are_in_different_files() -> None:
    """With one file Traefik would still use the valid staging certificates after the change."""

    def storage(server: str) -> str:
        values = traefik_values("load-balancer", server)
        return str(values["certificatesResolvers"]["letsencrypt"]["acme"]["storage"])

    assert storage("staging") == "/data/acme-staging.json"
    assert storage("production") == "/data/acme.json"


@pytest.mark.parametrize(("exposure", "user"), [("load-balancer", 65532), ("host-network", 0)])
def test_traefiks_user_owns_the_volume_in_both_exposures(exposure: str, user: int) -> None:
    values = traefik_values(exposure)
    (container,) = values["deployment"]["initContainers"]
    assert f"chown -R {user}:{user} /data" in container["command"][2]
    assert container["securityContext"]["runAsUser"] == 0
    assert values["podSecurityContext"]["runAsUser"] == user
    assert "fsGroup" not in values["podSecurityContext"]


@pytest.mark.parametrize("exposure", ["load-balancer", "host-network"])
def test_certificates_are_on_the_existing_claim_and_http_redirects_to_https(exposure: str) -> None:
    values = traefik_values(exposure)
    assert values["persistence"]["existingClaim"] == "traefik-certificates"
    assert values["deployment"]["replicas"] == 1
    redirect = values["ports"]["web"]["http"]["redirections"]["entryPoint"]
    assert redirect == {"to": "websecure", "scheme": "https", "permanent": True}
    acme = values["certificatesResolvers"]["letsencrypt"]["acme"]
    assert acme["caServer"] == "https://acme-v02.api.letsencrypt.org/directory"
    assert acme["storage"] == "/data/acme.json"
