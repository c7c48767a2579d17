"""Types of the settings of charts, Flux and Traefik (versions, Git URLs, keys, tokens)."""

from __future__ import annotations

import base64
import re
from typing import Annotated

import pyrage
from pydantic import AfterValidator, Field, SecretStr, StrictStr, WithJsonSchema

from settings.problems import UserError
from settings.values import HOST_NAME, SECRET, Like, Secret, Text, check_port, host_name


def _wildcard(value: str) -> str:
    if value.startswith("*."):
        raise UserError(
            "starts with *., which this setting adds itself", f"write {value[2:]} without *."
        )
    return host_name(value)


def _git_url(value: str) -> str:
    if scp := re.fullmatch(r"([^\s/:@]+@[^\s/:@]+):(?!//)([^\s:]+)", value):
        raise UserError(
            "is the short form of an SSH URL, which Flux does not support",
            f"write ssh://{scp[1]}/{scp[2].lstrip('/')}",
        )
    if re.match(r"https://[^/]*@", value):
        raise UserError(
            "contains a user name or a password",
            "remove both from the URL, and set flux.username and flux.token",
        )
    return value


def _repository_path(value: str) -> str:
    parts = value.removeprefix("./").strip("/").split("/")
    return "./" + "/".join(part for part in parts if part not in ("", "."))


def _deploy_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip() + "\n"
    found = re.fullmatch(
        r"-----BEGIN ((?:[A-Z]+ )*)PRIVATE KEY-----\n(.+)\n-----END \1PRIVATE KEY-----\n",
        text,
        re.DOTALL,
    )
    if not found:
        raise UserError(
            "is not a private SSH key",
            "use the whole content of the file that ssh-keygen wrote without .pub",
        )
    if "ENCRYPTED" in text or (found[1] == "OPENSSH " and not _has_no_passphrase(found[2])):
        raise UserError(
            "is protected by a passphrase, which Flux cannot enter",
            "create a key without a passphrase: ssh-keygen -t ed25519 -N '' -f deploy_key",
        )
    return SecretStr(text)


def _has_no_passphrase(body: str) -> bool:
    """Whether a private key in OpenSSH format has no passphrase (openssh PROTOCOL.key)."""
    try:
        raw = base64.b64decode(body)
    except ValueError:
        return False
    return raw.startswith(b"openssh-key-v1\0\0\0\0\x04none")


def _age_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    try:
        pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise UserError(
            "is not a secret age key (AGE-SECRET-KEY-1...)", "create one with `make age-key`"
        ) from None
    return SecretStr(text)


ChartVersion = Annotated[
    StrictStr,
    Text(
        r"\d{1,4}(\.\d{1,4}){2}",
        "is not a full chart version",
        'write all three numbers, such as "1.12.1"',
    ),
    Field(
        description="Version of the Helm chart. This program supports the versions in "
        "``settings/compatibility.py``."
    ),
]
OperatorVersion = Annotated[
    ChartVersion,
    Field(
        description="Version of the Flux Operator's chart. It determines the version of Flux, "
        "which the operator installs."
    ),
]
Repository = Annotated[
    StrictStr,
    Field(
        description="URL of the chart repository, or a local folder with one sub-folder per chart."
    ),
]
Domain = Annotated[StrictStr, AfterValidator(_wildcard), Like(HOST_NAME)]
Email = Annotated[
    StrictStr,
    Text(r"[^@\s]+@[^@\s]+\.[^@\s.]+", "is not an e-mail address", "write it like me@example.org"),
]
GitUrl = Annotated[
    StrictStr,
    AfterValidator(_git_url),
    Text(
        r"(ssh://[^\s/:@]+@|https://)[^\s/:@]+(:\d{1,5})?/[^\s?#]+",
        "is not the URL of a Git repository that Flux supports",
        "write ssh://git@HOST/PATH.git or https://HOST/PATH.git",
    ),
    AfterValidator(check_port),
]
GitBranch = Annotated[
    StrictStr,
    # Most of the rules of git-check-ref-format(1).
    Text(
        r"(?![-/.])(?!.*(\.\.|//|/\.|@\{|\.lock(/|$)))[\w./+@#-]+(?<![/.])",
        "is not the name of a Git branch",
        "write it like main",
    ),
]
RepositoryPath = Annotated[
    StrictStr,
    Text(
        r"(?!/)(?!(.*/)?\.\.(/|$))[^\s\\]*",
        "is not a folder inside the repository",
        "write the path from the root of the repository, such as ./apps",
    ),
    AfterValidator(_repository_path),
]
Interval = Annotated[
    StrictStr,
    Text(
        r"[1-9]\d{0,4}[smh]",
        "is not a duration",
        "write a number with s, m or h, such as 1m",
    ),
]
DnsProvider = Annotated[
    StrictStr,
    Text(
        r"[a-z0-9][a-z0-9-]*",
        "is not the code of a DNS provider",
        "use a code from Traefik's list (go-acme.github.io/lego/dns), such as cloudflare",
    ),
]
GitToken = Annotated[
    SecretStr,
    Secret(
        r"\S+",
        "is empty or contains spaces or line breaks",
        "set the token in one line, as the Git server shows it",
    ),
]
DeployKey = Annotated[SecretStr, AfterValidator(_deploy_key), WithJsonSchema(SECRET)]
AgeKey = Annotated[SecretStr, AfterValidator(_age_key), WithJsonSchema(SECRET)]
