"""Certificates near their end and past it: an `up` renews them, and nothing else is touched."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, Lab, without
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

SECRETS = "talos:machine/secrets:Secrets"


@pytest.fixture
def small(make_lab: MakeLab) -> Lab:
    """One control plane and one worker."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    return lab


def days_left(lab: Lab) -> dict[str, int]:
    """What the stack's outputs tell, in days from now; they are no secret."""
    told = json.loads(lab.pulumi("stack", "output", "--json", "--stack", lab.stack).output)
    now = datetime.now(UTC)
    ends = told["certificates"].items()
    return {name: (datetime.fromisoformat(end) - now).days for name, end in ends}


def client_end(text: str, *path: Any) -> int:
    """In how many days the client certificate ends that stands in a YAML text."""
    found = yaml.safe_load(text)
    for key in path:
        found = found[key]
    end = x509.load_pem_x509_certificate(base64.b64decode(found)).not_valid_after_utc
    return (end - datetime.now(UTC)).days


def test_an_up_half_a_year_later_renews_them_and_nothing_else(small: Lab) -> None:
    lab = small
    lab.set_clock(days=-100)
    assert_up(lab)
    assert_no_diff(lab)
    before = days_left(lab)
    assert before["kubeconfig"] == before["talosconfig"] == 184
    assert before["authorities"] > 3600
    lab.set_clock(days=0)
    planned = lab.preview()
    assert planned.code == 0, planned.output
    assert planned.steps == [("update", "kubernetes")]
    renewed = lab.up()
    assert renewed.code == 0, renewed.output
    assert renewed.changes == {"updated": 1}
    after = days_left(lab)
    assert after["kubeconfig"] == after["talosconfig"] == 364
    users = ("users", 0, "user", "client-certificate-data")
    assert client_end(lab.kubeconfig(), *users) == 364
    talosconfig = lab.opened("stack", "output", "talosconfig", "--show-secrets")
    assert client_end(talosconfig, "contexts", "castle", "crt") == 364
    assert len(Kubernetes(lab).nodes()) == 2
    assert_no_diff(lab)


def test_a_castle_whose_certificates_have_ended_comes_back_with_one_up(small: Lab) -> None:
    lab = small
    lab.set("nodes.workers.count", 2)
    lab.set("timeouts", {"drain_s": 60, "return_s": 60, "rebuild_s": 60})
    assert_up(lab)
    # An `up` with the clock of two years ago leaves what it would have left then.
    lab.set_clock(days=-730)
    assert lab.up("--skip-preview").code == 0
    assert days_left(lab)["kubeconfig"] < -360
    let_the_providers_own_end(lab)
    lab.set_clock(days=0)
    planned = lab.preview()
    assert planned.code == 0, planned.output
    assert planned.steps == [("update", "cluster-secrets"), ("update", "kubernetes")]
    # With credentials of that state a node leaves, which the state alone knows any more.
    lab.set("nodes.workers.count", 1)
    back = lab.up()
    assert back.code == 0, back.output
    assert back.changes == {"updated": 5, "deleted": 3}
    assert len(Kubernetes(lab).nodes()) == 2
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def let_the_providers_own_end(lab: Lab) -> None:
    """Put a certificate of two years ago in the place of the one that the talos provider keeps."""
    state = json.loads(lab.state())
    (secrets,) = [it for it in state["deployment"]["resources"] if it["type"] == SECRETS]
    secrets["outputs"]["clientConfiguration"]["clientCertificate"] = ended()
    file = lab.folder / "state.json"
    file.write_text(json.dumps(state), encoding="utf-8")
    assert lab.pulumi("stack", "import", "--file", str(file), "--stack", lab.stack).code == 0


def ended() -> str:
    """A certificate that ended a year ago."""
    key, now = ed25519.Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=730))
        .not_valid_after(now - timedelta(days=365))
        .sign(key, None)
    )
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()
