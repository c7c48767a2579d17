"""Types of single settings (addresses, versions, names, secrets) with their error messages.

``Text`` and ``Secret`` are the types of settings that one pattern describes. Other types have a
function that returns the value, or raises ``UserError``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    StrictStr,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from settings.problems import UserError

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DNS_LABEL = re.compile(_LABEL)
HOST_NAME = rf"({_LABEL}\.)+(?!\d+$){_LABEL}"
_DOTTED = r"\d{1,3}(\.\d{1,3}){3}"
_URL = r"https?://[^\s/:@]+(:\d{1,5})?(/[^\s?#]*)?"
_REGISTRY = re.compile(r"\*|[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_TALOS_ARGUMENTS = ("ip", "talos.config", "talos.platform")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
"""Names of environment variables, as Traefik's list of DNS providers writes them."""
MACHINE_NAME = re.compile(r"(worker|control-plane)-[1-9]\d{0,3}")
"""Short names of nodes: the keys of ``nodes.overrides``."""
CONTROL_PLANE_CORES = 2
"""Minimum number of cores of a control plane."""
CONTROL_PLANE_MIB = 2048
"""Minimum memory of a control plane in MiB."""
LONGEST_NAME = 47
"""Maximum length of a cluster name: a host name has at most 63 characters, and
``-control-plane-1`` is appended."""
MOST_MIB = 4 * 1024 * 1024
"""Maximum memory of a VM in MiB: 4 TiB, Proxmox's limit."""
SECRET = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"secure": {"type": "string"}},
            "required": ["secure"],
            "additionalProperties": False,
        },
    ]
}
"""JSON schema of a secret in a stack file: encrypted by Pulumi (``secure``), or plain text."""


@dataclass(frozen=True)
class Like:
    """Adds a pattern to a text setting in the JSON schema."""

    pattern: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the pattern to the schema of the field."""
        return {**handler(schema), "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True)
class Text(Like):
    """A text setting that matches ``pattern`` as a whole; else ``reason`` and ``fix`` are shown."""

    reason: str
    fix: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the text after pydantic has checked the type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if re.fullmatch(self.pattern, value):
            return value
        raise UserError(self.reason, self.fix)


@dataclass(frozen=True)
class Secret(Text):
    """A secret whose text matches ``pattern``, without white space around it."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Allow plain text and the form in which Pulumi encrypts it."""
        return SECRET

    def _check(self, value: Any) -> Any:
        return SecretStr(super()._check(value.get_secret_value().strip()))


@dataclass(frozen=True)
class AddressRange:
    """A range of IPv4 addresses, both ends included: ``192.168.1.240-192.168.1.245``."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, value: Any) -> AddressRange:
        """Parse ``FIRST-LAST``. Raises ``UserError`` for anything else."""
        if isinstance(value, cls):
            return value
        try:
            first, last = (IPv4Address(part.strip()) for part in value.split("-"))
        except (AttributeError, ValueError):
            raise UserError(
                "is not a range of addresses",
                "write FIRST-LAST, such as 192.168.1.240-192.168.1.245",
            ) from None
        return cls(first, last)

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    @property
    def size(self) -> int:
        """Number of addresses; 0 if the last address is below the first."""
        return max(0, int(self.last) - int(self.first) + 1)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _address(value: Any) -> IPv4Address:
    try:
        if isinstance(value, str | IPv4Address):
            return IPv4Address(value)
    except ValueError:
        pass
    raise UserError("is not an IPv4 address", "write four numbers from 0 to 255 with dots between")


def _network(value: Any) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    try:
        if isinstance(value, str) and "/" in value:
            network = IPv4Network(value, strict=False)
            if str(network.network_address) != value.split("/")[0]:
                raise UserError("is an address inside a network, not a network", f"write {network}")
            return network
    except UserError:
        raise
    except ValueError:
        pass
    raise UserError("is not an IPv4 network", "write it like 192.168.1.0/24")


def _version(value: Any) -> Any:
    """Refuse other types with a fix for versions: YAML reads 1.13 as a number."""
    if isinstance(value, str):
        return value
    raise UserError(*_FULL_VERSION)


def host_name(value: str) -> str:
    """Return ``value`` if it is a full host name; raises ``UserError``."""
    labels = value.split(".")
    # A last label of digits alone would be an IPv4 address.
    named = len(labels) > 1 and not labels[-1].isdigit()
    if named and len(value) <= 253 and all(map(DNS_LABEL.fullmatch, labels)):
        return value
    raise UserError(
        "is not a valid host name (RFC 1123)",
        "write a full name in lower-case letters, such as whoami.example.org",
    )


def check_port(value: str) -> str:
    """Return the URL ``value`` if its port, if any, is valid; raises ``UserError``."""
    port = re.match(r"[a-z]+://[^/]*:(\d+)(/|$)", value)
    if port and not 1 <= int(port[1]) <= 65535:
        raise UserError(f"has port {port[1]}, which is out of range", "use a port from 1 to 65535")
    return value


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def check_unique(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``values`` if no entry is listed twice; raises ``UserError``."""
    if len(set(values)) == len(values):
        return values
    raise UserError("lists an entry twice", "list each entry once")


def _time_server(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        pass
    last = value.rpartition(".")[2]
    if last and not last.isdigit() and all(map(DNS_LABEL.fullmatch, value.split("."))):
        return value
    raise UserError(
        "is neither an IP address nor a host name",
        "write it like 192.168.1.1 or time.cloudflare.com",
    )


def _registries(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not _REGISTRY.fullmatch(name):
            raise UserError(
                f"has the key {name!r}, which is not the name of a registry",
                "write the host name of the registry, such as docker.io, or * for all others",
            )
    return value


def _kernel_argument(value: str) -> str:
    if value.lstrip("-").partition("=")[0] in _TALOS_ARGUMENTS:
        raise UserError(
            "changes how Talos finds its machine config or its address; this program sets that",
            "remove the argument",
        )
    return value


def check_odd(value: int) -> int:
    """Return the number of control planes if it is 1, 3 or 5; raises ``UserError``."""
    if value in (1, 3, 5):
        return value
    raise UserError("must be an odd number: etcd needs a majority", "choose 1, 3 or 5")


def _unencrypted_snapshot(value: str) -> str:
    if value.endswith(".db"):
        raise UserError(
            "is an unencrypted snapshot without the machine secrets, which a new cluster needs to "
            "read the data",
            "use an encrypted snapshot, FILE.db.age; `make snapshot` writes one if the stack has "
            "an age key (`make age-key`)",
        )
    return value


def _certificate(value: str) -> str:
    # Imported only here: the import takes as long as that of all models.
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(value.encode())
    except ValueError:
        raise UserError(
            "is not a certificate in PEM format",
            "paste all lines, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----",
        ) from None
    # Longhorn refuses S3 credentials if a value ends with a newline (longhorn/longhorn#7159).
    return value.strip()


Address = Annotated[IPv4Address, BeforeValidator(_address)]
Network4 = Annotated[IPv4Network, BeforeValidator(_network), Like(rf"{_DOTTED}/\d{{1,2}}")]
Range = Annotated[
    AddressRange,
    BeforeValidator(AddressRange.parse),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*{_DOTTED}\s*-\s*{_DOTTED}\s*$"}),
]
Whole = Annotated[int, Field(strict=True)]
_FULL_VERSION = "is not a full version", 'write all three numbers, as in "v1.13.9"'
Version = Annotated[
    StrictStr, Text(r"v\d{1,4}(\.\d{1,4}){2}", *_FULL_VERSION), BeforeValidator(_version)
]
DnsLabel = Annotated[
    StrictStr,
    Text(
        _LABEL,
        "is not a valid name",
        f"use lower-case letters, digits and inner hyphens, at most {LONGEST_NAME} characters",
    ),
]
HostName = Annotated[StrictStr, AfterValidator(host_name), Like(HOST_NAME)]
Url = Annotated[
    StrictStr,
    Text(
        _URL,
        "is not a valid URL",
        "write https:// (or http://), a host name and, if needed, port and path; no user, ? or #",
    ),
    AfterValidator(_without_slash),
    AfterValidator(check_port),
]
SecureUrl = Annotated[
    Url,
    Text(
        _URL.replace("https?", "https"),
        "is not an https:// URL",
        "write it like https://192.168.1.10:8006/",
    ),
]
TimeServer = Annotated[StrictStr, AfterValidator(_time_server)]
Mirrors = Annotated[
    dict[StrictStr, Annotated[tuple[Url, ...], Field(min_length=1)]],
    BeforeValidator(lambda it: it or {}),
    AfterValidator(_registries),
]
Certificate = Annotated[StrictStr, AfterValidator(_certificate)]
ProxmoxName = Annotated[
    StrictStr,
    Text(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        "is not a name that Proxmox accepts",
        "use letters, digits, hyphens, dots and underscores; start with a letter or digit",
    ),
]
SnapshotFile = Annotated[
    StrictStr,
    AfterValidator(_unencrypted_snapshot),
    Text(
        r".*[^/]\.db\.age",
        "is not the name of a snapshot file",
        "write the path that `make snapshot` prints, like .state/etcd/NAME.db.age",
    ),
]
Extension = Annotated[
    StrictStr,
    Text(
        r"[a-z0-9-]+/[a-z0-9][a-z0-9._-]*",
        "is not the name of a Talos system extension",
        "write OWNER/NAME, such as siderolabs/i915",
    ),
]
KernelArgument = Annotated[
    StrictStr,
    Text(
        r"-?[A-Za-z0-9][^\s\"']*",
        "is not one kernel argument",
        "write each argument as its own entry, such as net.ifnames=0",
    ),
    AfterValidator(_kernel_argument),
]
Patches = tuple[dict[str, Any], ...]
Token = Annotated[
    SecretStr,
    Secret(
        r"[^\s@]+@[^\s!]+![^\s=]+=[A-Za-z0-9-]+",
        "is not a Proxmox API token",
        "write it like USER@REALM!NAME=SECRET",
    ),
]
Credential = Annotated[
    SecretStr,
    Secret(r"(?s).+", "is empty", "set the value that the provider shows"),
]
