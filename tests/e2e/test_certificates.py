"""Certificates are saved encrypted before ``down``, and restored into the next cluster."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.backup.traefiks import acme_json, secrets_of
from tests.e2e import s3_server
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHARTS, STAND_INS, Lab, missing
from tests.e2e.rack.kubernetes.containers import VOLUMES
from tests.e2e.test_gitops import hide, read_back
from tests.e2e.test_life import assert_empty, assert_no_diff

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

FILES = {"staging": "acme-staging.json", "production": "acme.json"}
TRAEFIK = 65532
TOKEN = "5eed1e55cafe4bad8badc0ffee123456"
CLAIM = "/api/v1/namespaces/traefik/persistentvolumeclaims/traefik-certificates"


def volume(lab: Lab) -> Path:
    """Where the rack has Traefik's volume."""
    name = lab.kubectl(CLAIM)["spec"]["volumeName"]
    (folder,) = Path(lab.endpoints["ca_file"]).parent.glob(f"kubernetes-*/{VOLUMES}/{name}")
    return folder


def put(lab: Lab, contents: dict[str, bytes]) -> None:
    """Write files as Traefik does, with its user and mode where this may be done."""
    for server, content in contents.items():
        file = volume(lab) / FILES[server]
        file.write_bytes(content)
        file.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(file, TRAEFIK, TRAEFIK)


def assert_there(lab: Lab, contents: dict[str, bytes]) -> None:
    """The files are there byte for byte, mode 0600, and Traefik's own."""
    for server, content in contents.items():
        file = volume(lab) / FILES[server]
        assert file.read_bytes() == content
        assert file.stat().st_mode & 0o7777 == 0o600
        if os.geteuid() == 0:
            assert (file.stat().st_uid, file.stat().st_gid) == (TRAEFIK, TRAEFIK)
    assert {file.name for file in volume(lab).iterdir()} == {FILES[it] for it in contents}


def with_key(lab: Lab, target: Path | str) -> Lab:
    """A stack that saves its certificates in a folder or a bucket."""
    made = lab.make("age-key")
    assert made.code == 0, made.output
    read_back(lab)
    lab.set("traefik.acme.backup", {"target": str(target)})
    return lab


def up(lab: Lab) -> str:
    done = lab.make("up")
    assert done.code == 0, done.output
    return done.output


def down(lab: Lab) -> str:
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)
    return gone.output


def test_certificates_are_there_after_down_and_up(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    kept = lab.folder / "kept"
    with_key(lab, kept)
    assert "Saved for" not in up(lab)
    first = {server: acme_json(server, "tazlab.net") for server in FILES}
    put(lab, first)
    assert_no_diff(lab)
    assert "Saved for production: the ACME account and 1 certificate" in lab.make("backup").output
    names = {it.name for it in kept.iterdir() if not it.name.startswith("lab-state.")}
    assert names == {"lab-staging.age", "lab-production.age"}
    assert {it.stat().st_mode & 0o777 for it in kept.iterdir()} == {0o600}
    assert_no_diff(lab)
    # Traefik gets another one, and nobody says so: `make down` looks by itself.
    second = first | {"production": acme_json("production", "tazlab.net", "*.tazlab.net")}
    put(lab, second)
    assert "Saved for production: the ACME account and 2 certificates" in down(lab)

    assert "Saved for" not in up(lab)
    assert_there(lab, second)
    assert_no_diff(lab)
    # A new backup is no change of the stack.
    put(lab, first)
    assert lab.make("backup").code == 0
    assert_no_diff(lab)
    again = lab.make("up")
    assert again.code == 0 and not again.changes
    assert_there(lab, first)
    assert_no_key_in_the_open(lab, [*first.values(), *second.values()])
    down(lab)


def assert_no_key_in_the_open(lab: Lab, contents: list[bytes]) -> None:
    """No key of Traefik's, and not the age key, stands in the state, in outputs or in any file."""
    whole = [base64.b64encode(content).decode() for content in contents]
    opened = " ".join(lab.learn_secrets())
    # They are in the state, encrypted; were they nowhere, the search below could not fail.
    assert any(content in opened for content in whole)
    keys = [secret for content in contents for secret in secrets_of(content)]
    # As they are, as PEM, and each begin of a file as the state would have it.
    forms = keys + [base64.b64decode(key).decode() for key in keys] + [it[:1000] for it in whole]
    forms.append(lab.opened("config", "get", "--path", "sops.age_key").strip())
    shown = lab.state() + lab.preview().output
    assert [form for form in forms if form in shown] == []
    files = [it for it in lab.folder.rglob("*") if it.is_file()]
    assert len(files) > 50
    found = [it for it in files if any(form.encode() in it.read_bytes() for form in forms)]
    assert found == []


def test_a_dead_castle_goes_and_what_was_kept_stays(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    kept = lab.folder / "kept"
    with_key(lab, kept)
    kept.mkdir()
    # What cannot be put back is said before anything is made.
    (kept / "lab-production.age").write_bytes(b"age-encryption.org/v1\n-> X25519 of another\n")
    refused = lab.make("up")
    assert refused.code != 0 and "was encrypted for another key" in refused.output
    assert "nothing has been touched" in refused.output
    assert_empty(lab)
    (kept / "lab-production.age").unlink()

    up(lab)
    content = {"production": acme_json("production", "tazlab.net")}
    put(lab, content)
    assert lab.make("backup").code == 0
    before = (kept / "lab-production.age").read_bytes()
    lab.proxmox("POST", "/nodes/pve1/qemu/8000/status/stop", timeout=1)
    failed = lab.make("backup")
    assert failed.code == 1 and "the Kubernetes API does not answer" in failed.output
    assert "cannot be saved: the Kubernetes API does not answer" in down(lab)
    assert (kept / "lab-production.age").read_bytes() == before
    up(lab)
    assert_there(lab, content)
    down(lab)


@pytest.mark.skipif(bool(s3_server.missing()), reason=s3_server.missing())
def test_certificates_and_volumes_go_to_buckets(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("pve1")
    with s3_server.served(tmp_path, TOKEN, "certificates", "volumes") as storage:
        with_key(lab, f"s3://certificates@{s3_server.REGION}/homes/one")
        lab.set("longhorn.backup", {"target": f"s3://volumes@{s3_server.REGION}/"})
        account = {"endpoint": storage.endpoint, "access_key": s3_server.ACCESS_KEY}
        lab.set("s3", account | {"certificate": storage.certificate})
        hide(lab, "s3.secret_key", "not-the-right-one")
        refused = lab.make("up")
        assert refused.code != 0 and "SignatureDoesNotMatch" in refused.output
        assert_empty(lab)
        hide(lab, "s3.secret_key", TOKEN)
        up(lab)
        secret = lab.kubectl("/api/v1/namespaces/longhorn-system/secrets/castle-backup")["data"]
        assert base64.b64decode(secret["AWS_SECRET_ACCESS_KEY"]).decode() == TOKEN
        assert base64.b64decode(secret["AWS_CERT"]).decode() == storage.certificate.strip()
        assert_no_diff(lab)

        content = {"production": acme_json("production", "tazlab.net")}
        put(lab, content)
        place = "s3://certificates/homes/one/lab-production.age"
        assert f"the ACME account and 1 certificate in {place}" in down(lab)
        kept = storage.buckets / "certificates" / "homes" / "one"
        names = [it.name for it in kept.iterdir() if not it.name.startswith("lab-state.")]
        assert names == ["lab-production.age"]
        assert (
            secrets_of(content["production"])[0].encode()
            not in (kept / "lab-production.age").read_bytes()
        )
        up(lab)
        assert_there(lab, content)
        assert_no_diff(lab)
    # Without its server nothing goes on unseen, but for the end.
    silent = lab.make("up")
    assert (
        silent.code != 0
        and f"{storage.endpoint} does not answer: Connection refused" in silent.output
    )
    assert base64.b64encode(TOKEN.encode()).decode() in " ".join(lab.learn_secrets())
    assert "cannot be saved" in down(lab)


def test_a_token_for_the_dns_reaches_traefik_and_nobody_else(make_lab: MakeLab) -> None:
    lab = make_lab("pve1")
    lab.set("traefik.acme.dns", {"provider": "cloudflare", "wildcards": ["tazlab.net"]})
    for token in (f"first-{TOKEN}", f"other-{TOKEN}"):
        hide(lab, "traefik.acme.dns.credentials.CF_DNS_API_TOKEN", token)
        done = lab.up()
        assert done.code == 0, done.output
        secret = lab.kubectl("/api/v1/namespaces/traefik/secrets/traefik-dns")
        assert base64.b64decode(secret["data"]["CF_DNS_API_TOKEN"]).decode() == token
        if token.startswith("other"):
            # The secret, and the release that reads it; no volume, no address.
            assert done.changes == {"replaced": 1, "updated": 1}
        assert_no_diff(lab)
        assert base64.b64encode(token.encode()).decode() in " ".join(lab.learn_secrets())
        said = lab.state() + done.output
        assert token not in said and base64.b64encode(token.encode()).decode() not in said
    route = lab.kubectl("/apis/traefik.io/v1alpha1/namespaces/whoami/ingressroutes/whoami")
    assert route["spec"]["tls"]["domains"] == [{"main": "tazlab.net", "sans": ["*.tazlab.net"]}]
    if CHARTS != STAND_INS:
        deployment = lab.kubectl("/apis/apps/v1/namespaces/traefik/deployments/traefik")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "traefik-dns"}}]
        wanted = "--certificatesresolvers.letsencrypt.acme.dnsChallenge.provider=cloudflare"
        assert wanted in container["args"]
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)
