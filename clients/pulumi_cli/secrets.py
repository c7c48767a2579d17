"""Decrypts the secrets of an exported state, if a passphrase encrypts them.

So one export, whose secrets are encrypted, serves everybody. The format is that of Pulumi
(pulumi/pulumi sdk/go/common/resource/config/crypt.go, pkg/secrets/passphrase/manager.go).
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

VARIABLE = "PULUMI_CONFIG_PASSPHRASE"
FILE_VARIABLE = "PULUMI_CONFIG_PASSPHRASE_FILE"
_ITERATIONS = 1_000_000
_KNOWN_TEXT = b"pulumi"
"""The plain text of the last part of a salt, by which Pulumi recognizes a wrong passphrase."""


class SecretsError(Exception):
    """The secrets cannot be decrypted here. The message is a predicate without a subject."""


def decrypted(exported: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A copy of an exported state with secrets in plain text, as ``--show-secrets`` prints it.

    ``environment`` has the passphrase in one of Pulumi's variables. Raises ``SecretsError``.
    """
    provider = (exported.get("deployment") or {}).get("secrets_providers") or {}

    @functools.cache
    def key() -> bytes:
        """The key, which a state without secrets does not need."""
        if provider.get("type") != "passphrase":
            raise SecretsError("are not encrypted by a passphrase")
        return _key(provider["state"]["salt"], _passphrase(environment))

    found: dict[str, Any] = _opened(exported, lambda text: _decrypt(key(), text))
    return found


def _opened(value: Any, decrypt: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_opened(item, decrypt) for item in value]
    if not isinstance(value, dict):
        return value
    # Every secret has this key beside Pulumi's signature of a secret.
    if isinstance(text := value.get("ciphertext"), str):
        rest = {key: item for key, item in value.items() if key != "ciphertext"}
        return rest | {"plaintext": decrypt(text)}
    return {key: _opened(item, decrypt) for key, item in value.items()}


def _passphrase(environment: Mapping[str, str]) -> str:
    if VARIABLE in environment:
        return environment[VARIABLE]
    try:
        return Path(environment[FILE_VARIABLE]).read_text(encoding="utf-8").strip()
    except (KeyError, OSError):
        raise SecretsError("need the passphrase") from None


@functools.cache
def _key(salt: str, passphrase: str) -> bytes:
    """The key of a salt in Pulumi's format ``v1:SALT:v1:NONCE:CIPHERTEXT``."""
    _, encoded, known = salt.split(":", 2)
    key = hashlib.pbkdf2_hmac(
        "sha256", passphrase.encode(), base64.b64decode(encoded), _ITERATIONS, 32
    )
    if _decrypt(key, known).encode() != _KNOWN_TEXT:
        raise SecretsError("are encrypted by another passphrase")
    return key


def _decrypt(key: bytes, text: str) -> str:
    """Decrypt a text in Pulumi's format ``v1:NONCE:CIPHERTEXT``."""
    # Loading it takes a twelfth of the program's start, and the program decrypts nothing.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        version, nonce, ciphertext = text.split(":")
        if version != "v1":
            raise SecretsError(f"are encrypted in the format {version}")
        plain = AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(ciphertext), None)
    except (ValueError, InvalidTag):
        raise SecretsError("are encrypted by another passphrase") from None
    return plain.decode()
