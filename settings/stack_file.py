"""Reads a stack file like Pulumi does, without Pulumi.

Does not decrypt secrets; placeholders replace them.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import yaml

from settings.encrypted import file_of, qualified
from settings.groups import PROJECT
from settings.load import TOKEN
from settings.problems import Problem, SettingsError, did_you_mean

PLACEHOLDER_TOKEN = "rehearsal@pve!rehearsal=00000000-0000-0000-0000-000000000000"
"""Replaces the Proxmox API token, which is encrypted in the stack file or not in it at all."""
PLACEHOLDER = "rehearsal"
"""Replaces every secret without its own placeholder."""
PLACEHOLDERS = {
    "flux": {
        "deploy_key": "-----BEGIN PRIVATE KEY-----\nrehearsal\n-----END PRIVATE KEY-----",
        "token": PLACEHOLDER,
    },
    "s3": {"access_key": PLACEHOLDER, "secret_key": PLACEHOLDER},
    "sops": {"age_key": str(pyrage.x25519.Identity.generate())},
}
"""Placeholders of secret keys, by group. The models accept them as values."""
TRAEFIK = f"{PROJECT}:traefik"
"""Key of the group Traefik, whose secrets are in ``acme.dns.credentials``."""


@dataclass(frozen=True)
class StackFile:
    """The configuration of a stack, in the form in which Pulumi passes it to the program."""

    config: dict[str, str]
    """Fully qualified keys to text, nested values as JSON."""
    secret_keys: list[str]
    """Keys with an encrypted value in the file."""
    has_token: bool = True
    """Whether the file has a Proxmox API token. If not, the environment must have it."""


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, as Pulumi does."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key} must be text")
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key} is duplicated")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# Pulumi reads YAML with gopkg.in/yaml.v3, whose resolve.go follows neither YAML 1.1 nor 1.2: `yes`
# is text, and `010` is eight. No YAML loader for Python does the same.
_TAG = "tag:yaml.org,2002:"
_TIME = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[Tt ](\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d+)?(Z|[-+]\d\d:\d\d)?)?\Z"
)
_INTEGER = r"0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
_DECIMAL = r"(?:\.\d[\d_]*|\d[\d_]*(?:\.[\d_]*)?)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF)"
_RESOLVERS = {
    "merge": (re.compile(r"<<\Z"), "<"),
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    "timestamp": (_TIME, "0123456789"),
    "float": (
        re.compile(rf"(?:[-+]?(?:{_INTEGER}|{_DECIMAL})|\.(?:nan|NaN|NAN))\Z"),
        "-+.0123456789",
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _RESOLVERS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


def _boolean(_: _Loader, node: yaml.ScalarNode) -> bool:
    return bool(node.value.lower() == "true")


def _number(_: _Loader, node: yaml.ScalarNode) -> int | float | str:
    """A number, or text if the value is too large or not a number in spite of its tag."""
    text = node.value.replace("_", "").lower()
    if text.endswith(("inf", "nan")):
        problem = f"{node.value} is not a number that Pulumi accepts"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    try:
        whole = int(re.sub(r"^([-+]?)0(?=[0-7]+$)", r"\g<1>0o", text), 0)
        if -(2**63) <= whole < 2**64:
            return whole
    except ValueError:  # such as `08` and `1.5`
        pass
    try:
        value = float(text)
    except ValueError:
        return str(node.value)
    if math.isinf(value):
        return str(node.value)
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _time(_: _Loader, node: yaml.ScalarNode) -> str:
    """A timestamp as the text into which Pulumi converts it."""
    found = _TIME.match(node.value)
    *numbers, fraction, zone = found.groups() if found else (None,) * 8
    year, month, day, hour, minute, second = (int(it or 0) for it in numbers)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # such as 2020-13-45
        return str(node.value)
    if ("T" in node.value.upper()) != (zone is not None):
        return str(node.value)
    shown = "+0000 UTC" if zone in (None, "Z", "+00:00") else f"{zone} {zone}".replace(":", "")
    return f"{moment:%Y-%m-%d %H:%M:%S}{(fraction or '').rstrip('0').rstrip('.')} {shown}"


_Loader.add_constructor(_TAG + "merge", lambda _, node: str(node.value))
_Loader.add_constructor(_TAG + "bool", _boolean)
_Loader.add_constructor(_TAG + "int", _number)
_Loader.add_constructor(_TAG + "float", _number)
_Loader.add_constructor(_TAG + "timestamp", _time)


def find(stack: str, folder: Path) -> Path:
    """Return the path of a stack file; raises ``SettingsError`` if it does not exist."""
    path = folder / f"Pulumi.{stack}.yaml"
    if not path.exists():
        files = {*folder.glob("Pulumi.*.yaml")} - {*folder.glob("Pulumi.*.sops.yaml")}
        known = [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files]
        problem = Problem("stack", stack, f"{path.name} does not exist", did_you_mean(stack, known))
        raise SettingsError([problem], stack)
    return path


def read(stack: str, folder: Path) -> StackFile:
    """Read ``Pulumi.<stack>.yaml`` in ``folder``.

    Raises ``SettingsError`` if the file does not exist or cannot be read.
    """
    path = find(stack, folder)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        problem = Problem(path.name, "unreadable", _reason(error), "correct the file")
        raise SettingsError([problem], stack) from None
    config = document.get("config") if isinstance(document, dict) else document
    if config is None:
        config = {}
    if not isinstance(config, dict):
        problem = Problem(
            "config",
            json.dumps(config, default=str),
            "is not a group of settings",
            "write keys and values below config, as in docs/settings.md",
        )
        raise SettingsError([problem], stack)
    # As in Pulumi, a key without a namespace belongs to the project.
    config = {key if ":" in key else f"{PROJECT}:{key}": value for key, value in config.items()}
    for key, value in _read_sops_file(file_of(stack, folder)).items():
        config[key] = _merge(config.get(key), value)
    encrypted: list[str] = _replace_credentials(config)
    for group, secrets in PLACEHOLDERS.items():
        encrypted += _replace_secrets(config, f"{PROJECT}:{group}", secrets)
    encrypted += _replace_secrets_in_patches(config)
    problems = [
        Problem(
            key.removeprefix(f"{PROJECT}:"),
            "encrypted",
            "is encrypted, but it is not a secret, and a rehearsal decrypts nothing",
            "write it in plain text",
        )
        for key, value in config.items()
        if key.startswith((f"{PROJECT}:", "proxmoxve:")) and key != TOKEN and _holds_secret(value)
    ]
    if problems:
        raise SettingsError(problems, stack)
    has_token = TOKEN in config
    config.setdefault(TOKEN, {"secure": ""})
    return StackFile(
        has_token=has_token,
        config={key: _text(value) for key, value in config.items()},
        secret_keys=[key for key, value in config.items() if _is_secret(value) or key in encrypted],
    )


def _read_sops_file(file: Path) -> dict[str, Any]:
    """The SOPS file, with encrypted values in Pulumi's form; SOPS does not encrypt keys."""
    if not file.exists():
        return {}
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    converted: dict[str, Any] = _in_pulumi_form(qualified(document))
    return converted


def _in_pulumi_form(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_pulumi_form(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_pulumi_form(inner) for inner in value]
    return {"secure": value} if str(value).startswith("ENC[") else value


def _merge(plain: Any, encrypted: Any) -> Any:
    """Merge a value of the SOPS file into the value of the stack file."""
    both = isinstance(plain, dict) and isinstance(encrypted, dict) and not _is_secret(encrypted)
    if not both:
        return encrypted
    return plain | {key: _merge(plain.get(key), value) for key, value in encrypted.items()}


def _replace_secrets(config: dict[str, Any], key: str, placeholders: dict[str, str]) -> list[str]:
    """Replace the secrets of a group by placeholders. Returns its key if it had any."""
    group = config.get(key)
    if not isinstance(group, dict):
        return []
    hidden = {name for name in placeholders if _is_secret(group.get(name))}
    config[key] = group | {name: placeholders[name] for name in hidden}
    return [key] if hidden else []


def _replace_secrets_in_patches(config: dict[str, Any]) -> list[str]:
    """Replace secrets in machine config patches. Returns the key of the group if it had any."""
    key = f"{PROJECT}:nodes"
    nodes = config.get(key)
    if not isinstance(nodes, dict):
        return []
    replaced = _with_replaced_patches(nodes)
    config[key] = replaced
    return [key] if replaced != nodes else []


def _with_replaced_patches(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: [_with_placeholders(patch) for patch in inner if not _has_unknown_kind(patch)]
        if key == "patches" and isinstance(inner, list)
        else _with_replaced_patches(inner)
        for key, inner in value.items()
    }


def _has_unknown_kind(patch: Any) -> bool:
    """Whether the kind of a patch is encrypted, so that the patch cannot be checked."""
    return _is_secret(patch) or (
        isinstance(patch, dict) and any(map(_is_secret, map(patch.get, ("apiVersion", "kind"))))
    )


def _with_placeholders(value: Any) -> Any:
    if _is_secret(value):
        return PLACEHOLDER
    if isinstance(value, dict):
        return {key: _with_placeholders(inner) for key, inner in value.items()}
    return [_with_placeholders(inner) for inner in value] if isinstance(value, list) else value


def _replace_credentials(config: dict[str, Any]) -> list[str]:
    """Replace the credentials of the DNS provider. Returns Traefik's key if there were any."""
    credentials: Any = config
    for key in (TRAEFIK, "acme", "dns", "credentials"):
        credentials = credentials.get(key) if isinstance(credentials, dict) else None
    if not isinstance(credentials, dict):
        return []
    encrypted = [name for name, value in credentials.items() if _is_secret(value)]
    credentials.update(dict.fromkeys(encrypted, PLACEHOLDER))
    return [TRAEFIK] if encrypted else []


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_secret(value) or any(map(_holds_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_secret, value))


def _text(value: Any) -> str:
    """A value in the form of Pulumi: null as empty text, and a placeholder for a secret."""
    if value is None:
        return ""
    if _holds_secret(value):
        return PLACEHOLDER_TOKEN
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"is not valid YAML: {position}{error.problem}"
    return f"cannot be read: {error}"
