"""Settings that SOPS keeps encrypted beside the stack file, in ``Pulumi.NAME.sops.yaml``.

It holds keys as the stack file does below ``config:``, and may lie in git. ``sops`` opens it into a
pipe: what it says is never in a file, and in no process' arguments. The castle's own age key opens
it where the stack file has one, else the keys that ``sops`` finds by itself.
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

LIMIT = 60
"""Seconds that ``sops`` has; a key in the cloud may be slow, and nobody is there to be asked."""
_SOPS = f"{PROJECT}:sops"


def file_of(stack: str, folder: Path) -> Path:
    """Where a stack's encrypted settings lie, if it has any."""
    return folder / f"Pulumi.{stack}.sops.yaml"


def names(stack: str, folder: Path) -> frozenset[str]:
    """The fully qualified keys of a stack's encrypted settings; SOPS leaves names in the open."""
    file = file_of(stack, folder)
    if not file.exists():
        return frozenset()
    return frozenset(qualified(yaml.safe_load(file.read_text(encoding="utf-8"))))


def opened(stack: str, config: Mapping[str, str], folder: Path = Path()) -> dict[str, Any]:
    """A stack's encrypted settings, open: fully qualified keys to values; empty without a file.

    ``folder`` is where the program runs. Raises ``SettingsError`` where the file cannot be opened.
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
            timeout=LIMIT,
        )
    except FileNotFoundError:
        raise _unreadable(
            stack, "needs `sops`, which is not on PATH", "install it from https://getsops.io"
        ) from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise _unreadable(
            stack,
            f"cannot be opened: {said}",
            "encrypt it for the castle's recipient (`make age-key` prints it), or name your own "
            "key with SOPS_AGE_KEY_FILE",
        ) from None
    except subprocess.TimeoutExpired:
        raise _unreadable(
            stack, f"was not opened within {LIMIT} s", "look why with `sops decrypt`"
        ) from None
    return qualified(json.loads(done.stdout))


def qualified(document: Any) -> dict[str, Any]:
    """The keys of an opened file, as the engine writes them, without what is SOPS' own."""
    keys = document if isinstance(document, dict) else {}
    return {
        key if ":" in key else f"{PROJECT}:{key}": value
        for key, value in keys.items()
        if key != "sops"
    }


def merged(
    config: Mapping[str, str], more: Mapping[str, Any], problems: list[Problem]
) -> dict[str, str]:
    """The engine's configuration with encrypted settings in it, as text like the rest."""
    result = dict(config)
    for key, value in more.items():
        path = key.removeprefix(f"{PROJECT}:")
        if key == _SOPS:
            problems.append(
                Problem(
                    path,
                    "encrypted",
                    "is what the file is opened with, and stands in it",
                    "leave it in the stack file, by `make age-key`",
                )
            )
            continue
        if key in result:
            value = _both(path, _parsed(result[key]), value, problems)
        result[key] = value if isinstance(value, str) else json.dumps(value)
    return result


def _both(path: str, plain: Any, hidden: Any, problems: list[Problem]) -> Any:
    if not (isinstance(plain, dict) and isinstance(hidden, dict)):
        problems.append(
            Problem(path, "(hidden)", "stands in two files", "leave it in the encrypted one alone")
        )
        return plain
    both = dict(plain)
    for key, value in hidden.items():
        both[key] = _both(f"{path}.{key}", plain[key], value, problems) if key in plain else value
    return both


def _age_key(config: Mapping[str, str]) -> str:
    group = _parsed(config.get(_SOPS, ""))
    key = group.get("age_key") if isinstance(group, dict) else None
    return key.strip() if isinstance(key, str) else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unreadable(stack: str, reason: str, fix: str) -> SettingsError:
    return SettingsError([Problem(file_of(stack, Path()).name, "unreadable", reason, fix)], stack)
