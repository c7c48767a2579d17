"""Decrypting the secrets of a state that Pulumi 3.259 wrote, and which errors there are."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clients.pulumi_cli.secrets import FILE_VARIABLE, VARIABLE, SecretsError, decrypted

SALT = "v1:ENzcDxEA97o=:v1:Rwbu4Oe4MV3UnmaX:LMPChUkQsIEN0073WZE9zyvzFQuIKA=="
"""Written by Pulumi for the passphrase ``pw``."""
SIGNATURE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


def encrypt(plain: str) -> str:
    key = hashlib.pbkdf2_hmac("sha256", b"pw", base64.b64decode("ENzcDxEA97o="), 1_000_000, 32)
    nonce = b"twelve bytes"
    sealed = AESGCM(key).encrypt(nonce, plain.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


def state(*, kind: str = "passphrase", ciphertext: str = "") -> dict[str, Any]:
    secret = SIGNATURE | {"ciphertext": ciphertext or encrypt(json.dumps({"a": 1}))}
    provider = {"type": kind, "state": {"salt": SALT}}
    resources = [{"outputs": {"plain": 1, "list": [secret]}}]
    return {"version": 3, "deployment": {"secrets_providers": provider, "resources": resources}}


def test_secrets_have_the_form_of_show_secrets(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("pw\n")
    before = state()
    for environment in ({VARIABLE: "pw"}, {FILE_VARIABLE: str(file)}):
        (resource,) = decrypted(before, environment)["deployment"]["resources"]
        plain = SIGNATURE | {"plaintext": '{"a": 1}'}
        assert resource == {"outputs": {"plain": 1, "list": [plain]}}
    assert before == state()


def test_a_state_without_secrets_needs_no_passphrase() -> None:
    assert decrypted({"version": 3, "deployment": {}}, {}) == {"version": 3, "deployment": {}}


@pytest.mark.parametrize(
    ("exported", "environment", "message"),
    [
        (state(), {}, "need the passphrase"),
        (state(), {FILE_VARIABLE: "/missing"}, "need the passphrase"),
        (state(), {VARIABLE: "horse"}, "are encrypted by another passphrase"),
        (state(kind="cloud"), {VARIABLE: "pw"}, "are not encrypted by a passphrase"),
        (state(ciphertext="v2:a:b"), {VARIABLE: "pw"}, "are encrypted in the format v2"),
    ],
)
def test_secrets_that_cannot_be_decrypted(
    exported: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SecretsError, match=message):
        decrypted(exported, environment)
