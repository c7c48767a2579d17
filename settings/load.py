"""Loads the configuration of a stack into ``Settings``, and reports all problems at once."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
from pulumi.runtime.config import is_config_secret
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from settings import encrypted, rules
from settings.base import Group, group_in
from settings.groups import PROJECT, Nodes
from settings.models import Settings
from settings.problems import Problem, SettingsError, UserError, did_you_mean
from settings.running import RunningStack
from settings.values import MACHINE_NAME

PROVIDER_KEYS = frozenset({"endpoint", "insecure", "apiToken"})
"""Keys of the namespace ``proxmoxve:`` that this program reads."""

TOKEN = "proxmoxve:apiToken"
"""Key of the Proxmox API token, the only secret that every stack needs."""

_SECRET_NAME = re.compile(r"token|secret|password|key|patches|credential", re.IGNORECASE)
"""If the path of a setting matches this, problems hide its value, even for an unknown key."""
_PASSWORD = re.compile(r"://[^/\s]*:[^/\s]*@|https?://[^/\s]*@")
"""A URL that contains a password or a token. Problems hide such a value."""

_TYPES = {
    "int_type": ("is not a whole number", "write a whole number, without quotes"),
    "bool_type": ("is neither true nor false", "write true or false, without quotes"),
    "string_type": ("is not text", "write it as text, in quotes if it looks like a number"),
    "tuple_type": ("is not a list", "write it as a list: [one, two]"),
    "dict_type": ("is not a group of settings", "write keys and values below this key"),
    "model_type": ("is not a group of settings", "write keys and values below this key"),
    "too_short": ("is an empty list", "list at least one entry"),
}
"""Reason and fix for errors of pydantic, by their type."""

GROUPS = {
    name: field
    for name, field in Settings.model_fields.items()
    if name not in ("stack", "encrypted", "running")
}
"""The settings groups: name to field of ``Settings``."""


def model_of(field: FieldInfo) -> type[Group]:
    """The model class of a group; the type of an optional group is ``Model | None``."""
    model = group_in(field.annotation)
    assert model is not None, "every field in GROUPS is a group"
    return model


NOTHING_RUNS = RunningStack()

RENAMED = {"upkeep": "rename this group to timeouts; its keys are the same"}
"""The fix for a group that was renamed, by its former name."""


def load(config: Mapping[str, str], stack: str, running: RunningStack = NOTHING_RUNS) -> Settings:
    """Load all settings of a stack, and check them, including changes of the running stack.

    ``config`` is the map that Pulumi passes to the program: fully qualified keys to text, nested
    values as JSON. ``stack`` is the stack's name; the function also decrypts and reads
    ``Pulumi.NAME.sops.yaml``. Logs advice as warnings. Raises ``SettingsError`` with all problems.
    """
    return joined(config, encrypted.opened(stack, config), stack, running)


def joined(
    config: Mapping[str, str],
    opened: Mapping[str, Any],
    stack: str,
    running: RunningStack = NOTHING_RUNS,
) -> Settings:
    """Like ``load``, with the decrypted content of ``Pulumi.NAME.sops.yaml`` as ``opened``."""
    problems: list[Problem] = []
    plain = {key: text if key == TOKEN else _scalar(text) for key, text in config.items()}
    values = encrypted.merged(plain, opened, problems)
    raw = dict(_groups(values, problems))
    hidden = {key for key in values if key in opened or is_config_secret(key)}
    secret = {name for name in GROUPS if f"{PROJECT}:{name}" in hidden}
    groups: dict[str, Group] = {}
    for name, field in GROUPS.items():
        model = model_of(field)
        if name not in raw and not field.is_required():
            groups[name] = field.get_default()
            continue
        if name not in raw:
            problems.extend(_missing_group(name, model))
            continue
        try:
            groups[name] = model.model_validate(raw[name])
        except ValidationError as error:
            for detail in _without_consequences(error.errors()):
                problems.extend(_translate(name, detail, model, hidden=name in secret))
    if isinstance(nodes := groups.get("nodes"), Nodes):
        problems.extend(_override_names(nodes))
    problems.extend(rules.broken({**groups, "running": running}))
    if problems:
        raise SettingsError(problems, stack)
    if TOKEN in values and TOKEN not in hidden:
        pulumi.log.warn(
            f"{TOKEN} is in Pulumi.{stack}.yaml in plain text. Remove it from the file and set it "
            f"with `pulumi config set --secret {TOKEN}`."
        )
    for path in _plain_secrets(groups, secret):
        pulumi.log.warn(
            f"{path} is in Pulumi.{stack}.yaml in plain text. Remove it from the file and set it "
            f"with `pulumi config set --secret --path {path}`."
        )
    for sentence in rules.advice(groups, running):
        pulumi.log.warn(sentence)
    return Settings.model_construct(
        None, stack=stack, encrypted=frozenset(secret), running=running, **groups
    )


def _plain_secrets(groups: Mapping[str, Group], secret: set[str]) -> Iterator[str]:
    """Paths of the secrets in groups without any encrypted value."""
    for name in sorted(groups.keys() - secret - {"proxmoxve"}):
        yield from _secrets_below(name, groups[name])


def _secrets_below(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield path
    elif isinstance(value, Group | dict):
        for key, inner in value.items() if isinstance(value, dict) else value:
            yield from _secrets_below(f"{path}.{key}", inner)


def _groups(config: Mapping[str, Any], problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    """The values of the settings groups. Unknown groups and provider keys become problems."""
    endpoint: dict[str, Any] = {}
    for full_key, value in config.items():
        namespace, _, key = full_key.partition(":")
        if namespace == "proxmoxve":
            if key in PROVIDER_KEYS:
                endpoint[key] = value
            else:
                fix = did_you_mean(key, PROVIDER_KEYS)
                problems.append(Problem(full_key, "set", "is not a known key", fix))
        elif namespace not in (PROJECT, "pulumi") and (
            near := difflib.get_close_matches(namespace, [PROJECT, "proxmoxve"], cutoff=0.8)
        ):
            fix = f"did you mean {near[0]}:{key}?"
            problems.append(Problem(full_key, "set", "is in an unknown namespace", fix))
        elif namespace == PROJECT:
            known = GROUPS.keys() - {"proxmoxve"}
            if key not in known:
                fix = RENAMED.get(key) or did_you_mean(key, known)
                # A key of spaces alone is shown in quotes.
                shown = key if key.strip() else json.dumps(key)
                problems.append(Problem(shown, "set", "is not a setting", fix))
                continue
            yield key, value
    # The Proxmox provider reads this variable too, if the stack has no token.
    if "apiToken" not in endpoint and (token := os.environ.get("PROXMOX_VE_API_TOKEN")):
        endpoint["apiToken"] = token
    if endpoint:
        yield "proxmoxve", endpoint


def _scalar(text: str) -> Any:
    """Parse a value of Pulumi's map: nested values are JSON, others plain text, null is ``''``."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _without_consequences(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Drop the error "list is empty" if the list is empty only because its entries are invalid."""
    for detail in details:
        place = detail["loc"]
        inside = any(other["loc"][:-1] == place for other in details)
        if not (detail["type"] == "too_short" and inside):
            yield detail


def _missing_group(path: str, model: type[Group]) -> Iterator[Problem]:
    for name, field in model.model_fields.items():
        if field.is_required():
            key = field.alias or name
            yield from _missing(_join(path, key), model, key)


def _missing(path: str, model: type[Group], key: str) -> Iterator[Problem]:
    """A problem for a missing key; if it is a group, one for each required key of the group."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    inner = group_in(fields[key].annotation)
    if inner is not None:
        yield from _missing_group(path, inner)
    else:
        text = " ".join((fields[key].description or key).replace("``", "").split())
        meaning = text.split(". ")[0].rstrip(".")
        yield Problem(path, "missing", "is required", f"add this setting: {meaning}")


def _join(path: str, key: str) -> str:
    return f"{path}:{key}" if path == "proxmoxve" else f"{path}.{key}"


def _translate(
    group: str, detail: ErrorDetails, model: type[Group], *, hidden: bool
) -> Iterator[Problem]:
    """Convert a pydantic error into a problem; into several if a group is missing."""
    path = group
    for part in detail["loc"]:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, str(part))
    kind, value = detail["type"], detail["input"]
    # Quotes are shown if they are the mistake, or if the value is empty.
    bare = isinstance(value, str) and value and kind not in ("int_type", "bool_type")
    shown = value if bare else json.dumps(value, default=str)
    if hidden or _SECRET_NAME.search(path) or (bare and _PASSWORD.search(value)):
        shown = "(hidden)"
    if kind == "missing":
        owner = _model_at(model, detail["loc"][:-1])
        yield from _missing(path, owner, str(detail["loc"][-1]))
        return
    if kind == "extra_forbidden":
        known = _model_at(model, detail["loc"][:-1]).model_fields
        fix = did_you_mean(str(detail["loc"][-1]), known)
        yield Problem(path, shown, "is not a setting", fix)
        return
    yield Problem(path, shown, *_reason_and_fix(detail))


def _reason_and_fix(detail: ErrorDetails) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error" and isinstance(context.get("error"), UserError):
        fault: UserError = context["error"]
        return fault.reason, fault.fix
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        return "is not one of the choices", f"choose {expected}"
    if kind in ("greater_than_equal", "less_than_equal"):
        low = kind == "greater_than_equal"
        limit = context["ge" if low else "le"]
        reason = f"is {'below the minimum' if low else 'above the maximum'} of {limit}"
        return reason, f"choose {limit} or {'more' if low else 'less'}"
    if kind == "too_long":
        return f"is longer than {context['max_length']} characters", "choose a shorter name"
    return _TYPES.get(kind, (detail["msg"].lower(), "see docs/settings.md"))


def _model_at(model: type[Group], location: tuple[int | str, ...]) -> type[Group]:
    """The model class at a location of a pydantic error."""
    for part in location:
        field = model.model_fields.get(str(part))
        # Other parts are a list index or the name of an override.
        if field is not None:
            model = group_in(field.annotation) or model
    return model


def _override_names(nodes: Nodes) -> Iterator[Problem]:
    for name in nodes.overrides:
        if not MACHINE_NAME.fullmatch(name):
            yield Problem(
                f"nodes.overrides.{name}",
                "set",
                "is not the short name of a node",
                "write worker-N or control-plane-N, with N from 1",
            )
