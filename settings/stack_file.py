"""Reads a stack file as the engine would, without the engine.

Secrets cannot be opened here, and need not be: a placeholder stands for each.
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
"""Stands for the API token, which a stack file has only in encrypted form, if at all."""
PLACEHOLDER = "rehearsal"
"""Stands for any text that is a secret."""
PLACEHOLDERS = {
    "flux": {
        "deploy_key": "-----BEGIN PRIVATE KEY-----\nrehearsal\n-----END PRIVATE KEY-----",
        "token": PLACEHOLDER,
    },
    "s3": {"access_key": PLACEHOLDER, "secret_key": PLACEHOLDER},
    "sops": {"age_key": str(pyrage.x25519.Identity.generate())},
}
"""The secrets that stand among other keys of a group, and what stands for each."""
TRAEFIK = f"{PROJECT}:traefik"
"""The group with secrets deep in it, whose names are a provider's."""


@dataclass(frozen=True)
class StackFile:
    """The configuration of a stack, as the engine hands it to the program."""

    config: dict[str, str]
    """Fully qualified keys to text, nested values as JSON."""
    secret_keys: list[str]
    """The keys that are encrypted in the file."""
    has_token: bool = True
    """Whether the API token stands in the file; else the environment has to hold it."""


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, as the engine's own reader does."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key} must be text")
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key} stands twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# The engine reads YAML with gopkg.in/yaml.v3. Its resolve.go is neither YAML 1.1 nor 1.2, and no
# loader for Python does the same: `yes` is text, and `010` is eight.
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
_Strict.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _RESOLVERS.items():
    _Strict.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


def _boolean(_: _Strict, node: yaml.ScalarNode) -> bool:
    return bool(node.value.lower() == "true")


def _number(_: _Strict, node: yaml.ScalarNode) -> int | float | str:
    """A number; text if it is too large, or if it is none in spite of its tag."""
    text = node.value.replace("_", "").lower()
    if text.endswith(("inf", "nan")):
        problem = f"{node.value} is not a number that the engine takes"
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


def _time(_: _Strict, node: yaml.ScalarNode) -> str:
    """A point in time as the text that the engine makes of it."""
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


_Strict.add_constructor(_TAG + "merge", lambda _, node: str(node.value))
_Strict.add_constructor(_TAG + "bool", _boolean)
_Strict.add_constructor(_TAG + "int", _number)
_Strict.add_constructor(_TAG + "float", _number)
_Strict.add_constructor(_TAG + "timestamp", _time)


def find(stack: str, folder: Path) -> Path:
    """The file of a stack; raises ``SettingsError`` where there is none."""
    path = folder / f"Pulumi.{stack}.yaml"
    if not path.exists():
        files = {*folder.glob("Pulumi.*.yaml")} - {*folder.glob("Pulumi.*.sops.yaml")}
        known = [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files]
        problem = Problem("stack", stack, f"{path.name} does not exist", did_you_mean(stack, known))
        raise SettingsError([problem], stack)
    return path


def read(stack: str, folder: Path) -> StackFile:
    """Read ``Pulumi.<stack>.yaml`` in ``folder``.

    Raises ``SettingsError`` where there is no such file or it cannot be read.
    """
    path = find(stack, folder)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        problem = Problem(path.name, "unreadable", _where(error), "mend the file at that place")
        raise SettingsError([problem], stack) from None
    config = document.get("config") if isinstance(document, dict) else document
    if config is None:
        config = {}
    if not isinstance(config, dict):
        problem = Problem(
            "config",
            json.dumps(config, default=str),
            "is not a group of settings",
            "see the manual",
        )
        raise SettingsError([problem], stack)
    # As the engine does: a key without a namespace is the project's own.
    config = {key if ":" in key else f"{PROJECT}:{key}": value for key, value in config.items()}
    for key, value in _not_opened(file_of(stack, folder)).items():
        config[key] = _over(config.get(key), value)
    encrypted: list[str] = _stand_in_for_credentials(config)
    for group, secrets in PLACEHOLDERS.items():
        encrypted += _stand_in(config, f"{PROJECT}:{group}", secrets)
    encrypted += _stand_in_patches(config)
    problems = [
        Problem(
            key.removeprefix(f"{PROJECT}:"),
            "encrypted",
            "cannot be rehearsed: this is not a secret",
            "write it as text",
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


def _not_opened(file: Path) -> dict[str, Any]:
    """What SOPS has encrypted, each value as the engine writes one; names are not encrypted."""
    if not file.exists():
        return {}
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    closed: dict[str, Any] = _closed(qualified(document))
    return closed


def _closed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _closed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_closed(inner) for inner in value]
    return {"secure": value} if str(value).startswith("ENC[") else value


def _over(plain: Any, hidden: Any) -> Any:
    both = isinstance(plain, dict) and isinstance(hidden, dict) and not _is_secret(hidden)
    if not both:
        return hidden
    return plain | {key: _over(plain.get(key), value) for key, value in hidden.items()}


def _stand_in(config: dict[str, Any], key: str, placeholders: dict[str, str]) -> list[str]:
    """Put placeholders in the place of a group's secrets; the key, if there was one."""
    group = config.get(key)
    if not isinstance(group, dict):
        return []
    hidden = {name for name in placeholders if _is_secret(group.get(name))}
    config[key] = group | {name: placeholders[name] for name in hidden}
    return [key] if hidden else []


def _stand_in_patches(config: dict[str, Any]) -> list[str]:
    """The same of what is encrypted inside of patches of machine configs, wherever it stands."""
    key = f"{PROJECT}:nodes"
    nodes = config.get(key)
    if not isinstance(nodes, dict):
        return []
    opened = _opened_patches(nodes)
    config[key] = opened
    return [key] if opened != nodes else []


def _opened_patches(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: [_opened(patch) for patch in inner if not _is_any(patch)]
        if key == "patches" and isinstance(inner, list)
        else _opened_patches(inner)
        for key, inner in value.items()
    }


def _is_any(patch: Any) -> bool:
    """Whether nobody can tell what document a patch is: SOPS encrypts that too."""
    return _is_secret(patch) or (
        isinstance(patch, dict) and any(map(_is_secret, map(patch.get, ("apiVersion", "kind"))))
    )


def _opened(value: Any) -> Any:
    if _is_secret(value):
        return PLACEHOLDER
    if isinstance(value, dict):
        return {key: _opened(inner) for key, inner in value.items()}
    return [_opened(inner) for inner in value] if isinstance(value, list) else value


def _stand_in_for_credentials(config: dict[str, Any]) -> list[str]:
    """Put placeholders in the place of what Traefik signs in with at a provider of DNS."""
    place: Any = config
    for key in (TRAEFIK, "acme", "dns", "credentials"):
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        return []
    hidden = [name for name, value in place.items() if _is_secret(value)]
    place.update(dict.fromkeys(hidden, PLACEHOLDER))
    return [TRAEFIK] if hidden else []


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_secret(value) or any(map(_holds_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_secret, value))


def _text(value: Any) -> str:
    """As the engine hands it over: nothing as an empty text, and a placeholder for a secret."""
    if value is None:
        return ""
    if _holds_secret(value):
        return PLACEHOLDER_TOKEN
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"is not valid YAML: {place}{error.problem}"
    return f"cannot be read: {error}"
