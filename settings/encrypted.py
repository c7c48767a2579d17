"""Settings encrypted with SOPS in ``Pulumi.NAME.sops.yaml``, beside the stack file.

The file has the same keys as the stack file below ``config:``, and can be committed to Git.
``sops`` decrypts it to a pipe, so plain text is in no file and in no process arguments. It uses the
stack's age key (``sops.age_key``), if set, and the keys that it finds itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from settings.groups import PROJECT
from settings.problems import Problem, SettingsError

SOPS_TIMEOUT_S = 60
"""Time limit of ``sops``; a key in a cloud service may be slow."""
_SOPS_GROUP = f"{PROJECT}:sops"


def file_of(stack: str, folder: Path) -> Path:
    """Path of the file with a stack's encrypted settings; it may not exist."""
    return folder / f"Pulumi.{stack}.sops.yaml"


def read(stack: str, folder: Path) -> dict[str, Any]:
    """The encrypted settings of a stack: fully qualified keys to values.

    SOPS does not encrypt keys. An encrypted value has the form of Pulumi, ``{"secure": TEXT}``.
    """
    file = file_of(stack, folder)
    if not file.exists():
        return {}
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {key: _in_pulumi_form(value) for key, value in _settings_in(document).items()}


def _in_pulumi_form(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_pulumi_form(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_pulumi_form(inner) for inner in value]
    return {"secure": value} if str(value).startswith("ENC[") else value


def opened(stack: str, config: Mapping[str, str], folder: Path = Path()) -> dict[str, Any]:
    """Decrypt the settings in ``Pulumi.NAME.sops.yaml``: fully qualified keys to values.

    ``folder`` holds the file; without a file the result is empty. Raises ``SettingsError`` if the
    file cannot be decrypted.
    """
    file = file_of(stack, folder)
    if not file.exists():
        return {}
    environment = dict(os.environ)
    if key := _age_key(config):
        environment["SOPS_AGE_KEY"] = f"{environment.get('SOPS_AGE_KEY', '')}\n{key}".strip()
    command = ["sops", "decrypt", "--input-type", "yaml", "--output-type", "json", str(file)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=SOPS_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise _unreadable(
            stack, "needs `sops`, which is not on PATH", "install it from https://getsops.io"
        ) from None
    except subprocess.CalledProcessError as error:
        output = " ".join(error.stderr.split())
        raise _unreadable(
            stack,
            f"`sops` cannot decrypt it: {output}",
            "encrypt it for the stack's age recipient (`make age-key` prints it), or set "
            "SOPS_AGE_KEY_FILE to the file with your own key",
        ) from None
    except subprocess.TimeoutExpired:
        raise _unreadable(
            stack,
            f"was not decrypted within {SOPS_TIMEOUT_S} s",
            f"find the cause with `sops decrypt {file.name}`",
        ) from None
    return _settings_in(json.loads(done.stdout))


def qualified(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Add the namespace to keys without one. As in Pulumi, these belong to the project."""
    return {key if ":" in key else f"{PROJECT}:{key}": value for key, value in keys.items()}


def _settings_in(document: Any) -> dict[str, Any]:
    """The settings in a SOPS file, without the metadata of SOPS."""
    keys = document if isinstance(document, dict) else {}
    return qualified({key: value for key, value in keys.items() if key != "sops"})


def merged(
    config: Mapping[str, Any], more: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    """Merge the settings of both files. Both map fully qualified keys to values.

    Appends a problem for each setting that is in both files.
    """
    allowed = {key: value for key, value in more.items() if key != _SOPS_GROUP}
    if _SOPS_GROUP in more:
        problems.append(
            Problem(
                "sops",
                "encrypted",
                "is the key that decrypts this file, so it cannot be inside",
                "keep it in the stack file (`make age-key`)",
            )
        )
    return _merged("", config, allowed, problems)


def _merged(
    path: str, plain: Mapping[str, Any], secret: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    result = dict(plain)
    for key, value in secret.items():
        inner = f"{path}{key.removeprefix(f'{PROJECT}:')}"
        before = plain.get(key)
        if before is None:
            result[key] = value
        elif _is_group(before) and _is_group(value):
            result[key] = _merged(f"{inner}.", before, value, problems)
        else:
            reason = "is in the stack file and in the encrypted file"
            problems.append(Problem(inner, "(hidden)", reason, "remove it from the stack file"))
    return result


def _is_group(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"secure"}


def _age_key(config: Mapping[str, str]) -> str:
    group = _parsed(config.get(_SOPS_GROUP, ""))
    key = group.get("age_key") if isinstance(group, dict) else None
    return key.strip() if isinstance(key, str) else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unreadable(stack: str, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(file_of(stack, Path()).name, "unreadable", reason, fix)], stack)
