"""The only reader of stack files. Reads ``Pulumi.NAME.yaml`` like Pulumi does, without Pulumi.

- ``find`` returns the path of an existing stack file.
- ``open_file`` returns what is written in it. Encrypted values stay encrypted.
- ``read`` returns the configuration that the program gets: includes ``Pulumi.NAME.sops.yaml``, with
  a placeholder for each encrypted value.

Nothing is decrypted here. To write a value, run ``pulumi config set --path``: Pulumi has the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import yaml

from settings import encrypted
from settings.base import leaves
from settings.groups import PROJECT
from settings.load import GROUPS, TOKEN, model_of
from settings.problems import Problem, SettingsError, did_you_mean

PLACEHOLDER_TOKEN = "rehearsal@pve!rehearsal=00000000-0000-0000-0000-000000000000"
"""Replaces the Proxmox API token, which is encrypted in the stack file or not in it at all."""
PLACEHOLDER = "rehearsal"
"""Replaces every secret that has no format of its own."""
FORMATS = {
    "flux.deploy_key": "-----BEGIN PRIVATE KEY-----\nrehearsal\n-----END PRIVATE KEY-----",
    "sops.age_key": str(pyrage.x25519.Identity.generate()),
}
"""Placeholders of the secrets whose format the models check, by path."""
SECRETS = re.compile(
    "|".join(
        [
            *(
                re.escape(path).replace("NAME", "[^.]+")
                for group, field in GROUPS.items()
                for path, leaf in leaves(model_of(field), group)
                if "SecretStr" in str(leaf.annotation)
            ),
            r"s3\.access_key",
            r"nodes\..*patches\[\d+\]\..*",
        ]
    ),
    re.DOTALL,
)
"""Paths of the settings that may be encrypted, besides the token."""


@dataclass(frozen=True)
class Document:
    """The content of a stack file. An encrypted value is the mapping ``{"secure": TEXT}``."""

    file: Path
    keys: Mapping[str, Any]
    """The keys of the file, such as ``config`` and ``encryptionsalt``."""
    config: Mapping[str, Any]
    """Fully qualified keys (``ephemeral-castle:network``) to values."""

    def value(self, setting: str) -> Any:
        """The value at a path such as ``traefik.acme.server``; None if it is not set.

        If the value is part of an encrypted group, returns that group.
        """
        group, *keys = setting.split(".")
        value = self.config.get(f"{PROJECT}:{group}")
        for key in keys:
            if is_encrypted(value):
                return value
            value = value.get(key) if isinstance(value, dict) else None
        return value


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


def open_file(file: Path) -> Document:
    """Read the existing file ``Pulumi.NAME.yaml``. Raises ``SettingsError`` if it is invalid."""
    stack = file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        problem = Problem(file.name, "unreadable", _reason(error), "correct the file")
        raise SettingsError([problem], stack) from None
    keys = document if isinstance(document, dict) else {"config": document}
    config = keys.get("config")
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
    return Document(file, keys, encrypted.qualified(config))


def read(stack: str, folder: Path) -> StackFile:
    """Read ``Pulumi.<stack>.yaml`` in ``folder``.

    Raises ``SettingsError`` if the file does not exist or cannot be read, or if a value is
    encrypted that is not a secret.
    """
    problems: list[Problem] = []
    written = open_file(find(stack, folder)).config
    config = encrypted.merged(written, encrypted.read(stack, folder), problems)
    has_token = TOKEN in config
    config.setdefault(TOKEN, {"secure": ""})
    replaced = {key: _without_secrets(key, value, problems) for key, value in config.items()}
    if problems:
        raise SettingsError(problems, stack)
    return StackFile(
        has_token=has_token,
        config={key: _text(value) for key, value in replaced.items()},
        secret_keys=[key for key, value in config.items() if replaced[key] != value],
    )


def is_encrypted(value: Any) -> bool:
    """Whether a value of a ``Document`` is encrypted."""
    return isinstance(value, dict) and set(value) == {"secure"}


def _without_secrets(key: str, value: Any, problems: list[Problem]) -> Any:
    """The value of a key with placeholders for secrets.

    The program does not use other namespaces, so a value there that contains a secret is replaced
    as a whole. Appends a problem for each encrypted setting that is not a secret.
    """
    namespace, _, group = key.partition(":")
    if namespace == PROJECT:
        return _with_placeholders(group, value, problems)
    if key == TOKEN or namespace != "proxmoxve":
        return PLACEHOLDER_TOKEN if _contains_secret(value) else value
    return _with_placeholders(key, value, problems)


def _with_placeholders(path: str, value: Any, problems: list[Problem]) -> Any:
    if is_encrypted(value):
        if SECRETS.fullmatch(path):
            return FORMATS.get(path, PLACEHOLDER)
        reason = "is encrypted, but it is not a secret, and a rehearsal decrypts nothing"
        problems.append(Problem(path, "encrypted", reason, "write it in plain text"))
    if isinstance(value, dict):
        return {
            key: _with_placeholders(f"{path}.{key}", inner, problems)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _with_placeholders(f"{path}[{number}]", inner, problems)
            for number, inner in enumerate(value)
            if not (path.endswith(".patches") and _has_unknown_kind(inner))
        ]
    return value


def _has_unknown_kind(patch: Any) -> bool:
    """Whether the kind of a patch is encrypted, so that the patch cannot be checked."""
    return is_encrypted(patch) or (
        isinstance(patch, dict) and any(map(is_encrypted, map(patch.get, ("apiVersion", "kind"))))
    )


def _contains_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return is_encrypted(value) or any(map(_contains_secret, value.values()))
    return isinstance(value, list) and any(map(_contains_secret, value))


def _text(value: Any) -> str:
    """A value in the form of Pulumi: null as empty text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"is not valid YAML: {position}{error.problem}"
    return f"cannot be read: {error}"
