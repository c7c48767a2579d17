"""Types of single settings (addresses, versions, names) with their error messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    StrictStr,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from settings.problems import UserError

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOTTED = r"\d{1,3}(\.\d{1,3}){3}"
_VERSION = re.compile(r"v\d{1,4}(\.\d{1,4}){2}")
_URL = re.compile(r"https?://[^\s/:@]+(:\d{1,5})?(/[^\s?#]*)?")
_SECURE_URL = re.compile(_URL.pattern.replace("https?", "https"))
_EXTENSION = re.compile(r"[a-z0-9-]+/[a-z0-9][a-z0-9._-]*")
_REGISTRY = re.compile(r"\*|[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_KERNEL_ARGUMENT = re.compile(r"-?[A-Za-z0-9][^\s\"']*")
_TALOS_ARGUMENTS = ("ip", "talos.config", "talos.platform")
_TOKEN = re.compile(r"[^\s@]+@[^\s!]+![^\s=]+=[A-Za-z0-9-]+")
_PROXMOX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
"""Names of environment variables, as Traefik's list of DNS providers writes them."""
MACHINE_NAME = re.compile(r"(worker|control-plane)-[1-9]\d{0,3}")
"""Short names of nodes: the keys of ``nodes.overrides``."""


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


def _version(value: Any) -> str:
    if isinstance(value, str) and _VERSION.fullmatch(value):
        return value
    raise UserError("is not a full version", 'write all three numbers, as in "v1.13.9"')


def _dns_label(value: str) -> str:
    if DNS_LABEL.fullmatch(value):
        return value
    raise UserError(
        "is not a valid name",
        f"use lower-case letters, digits and inner hyphens, at most {LONGEST_NAME} characters",
    )


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


def _url(value: str) -> str:
    if _URL.fullmatch(value):
        return check_port(value.rstrip("/"))
    raise UserError(
        "is not a valid URL",
        "write https:// (or http://), a host name and, if needed, port and path; no user, ? or #",
    )


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
    if not _KERNEL_ARGUMENT.fullmatch(value):
        raise UserError(
            "is not one kernel argument",
            "write each argument as its own entry, such as net.ifnames=0",
        )
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


def _extension(value: str) -> str:
    if _EXTENSION.fullmatch(value):
        return value
    raise UserError(
        "is not the name of a Talos system extension", "write OWNER/NAME, such as siderolabs/i915"
    )


def _secure_url(value: str) -> str:
    if value.startswith("https://"):
        return _url(value)
    raise UserError("is not an https:// URL", "write it like https://192.168.1.10:8006/")


def _token(value: SecretStr) -> SecretStr:
    if _TOKEN.fullmatch(value.get_secret_value()):
        return value
    raise UserError("is not a Proxmox API token", "write it like USER@REALM!NAME=SECRET")


def _proxmox_name(value: str) -> str:
    if _PROXMOX_NAME.fullmatch(value):
        return value
    raise UserError(
        "is not a name that Proxmox accepts",
        "use letters, digits, hyphens, dots and underscores; start with a letter or digit",
    )


def _snapshot(value: str) -> str:
    if value.endswith(".db.age"):
        return value
    if value.endswith(".db"):
        raise UserError(
            "is an unencrypted snapshot without the machine secrets, which a new cluster needs to "
            "read the data",
            "use an encrypted snapshot, FILE.db.age; `make snapshot` writes one if the stack has "
            "an age key (`make age-key`)",
        )
    raise UserError(
        "is not the name of a snapshot file",
        "write the path that `make snapshot` prints, like .state/etcd/NAME.db.age",
    )


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


@dataclass(frozen=True)
class Like:
    """Adds a pattern to a text setting in the JSON schema. The models use a validator instead."""

    pattern: re.Pattern[str]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the pattern to the schema of the field."""
        return {**handler(schema), "pattern": f"^{self.pattern.pattern}$"}


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
Address = Annotated[IPv4Address, BeforeValidator(_address)]
Network4 = Annotated[
    IPv4Network, BeforeValidator(_network), Like(re.compile(rf"{_DOTTED}/\d{{1,2}}"))
]
Range = Annotated[
    AddressRange,
    BeforeValidator(AddressRange.parse),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*{_DOTTED}\s*-\s*{_DOTTED}\s*$"}),
]
Version = Annotated[str, BeforeValidator(_version), Like(_VERSION)]
DnsLabel = Annotated[StrictStr, AfterValidator(_dns_label), Like(DNS_LABEL)]
HostName = Annotated[
    StrictStr,
    AfterValidator(host_name),
    Like(re.compile(rf"({DNS_LABEL.pattern}\.)+(?!\d+$){DNS_LABEL.pattern}")),
]
Url = Annotated[StrictStr, AfterValidator(_url), Like(_URL)]
Certificate = Annotated[StrictStr, AfterValidator(_certificate)]
SecureUrl = Annotated[StrictStr, AfterValidator(_secure_url), Like(_SECURE_URL)]
Token = Annotated[SecretStr, AfterValidator(_token), WithJsonSchema(SECRET)]
ProxmoxName = Annotated[StrictStr, AfterValidator(_proxmox_name), Like(_PROXMOX_NAME)]
SnapshotFile = Annotated[StrictStr, AfterValidator(_snapshot), Like(re.compile(r".*[^/]\.db\.age"))]
Whole = Annotated[int, Field(strict=True)]
Extension = Annotated[StrictStr, AfterValidator(_extension), Like(_EXTENSION)]
TimeServer = Annotated[StrictStr, AfterValidator(_time_server)]
Mirrors = Annotated[
    dict[StrictStr, Annotated[tuple[Url, ...], Field(min_length=1)]],
    BeforeValidator(lambda it: it or {}),
    AfterValidator(_registries),
]
KernelArgument = Annotated[StrictStr, AfterValidator(_kernel_argument), Like(_KERNEL_ARGUMENT)]
Patches = tuple[dict[str, Any], ...]
CONTROL_PLANE_CORES = 2
"""Minimum number of cores of a control plane."""
CONTROL_PLANE_MIB = 2048
"""Minimum memory of a control plane in MiB."""
LONGEST_NAME = 47
"""Maximum length of a cluster name: a host name has at most 63 characters, and
``-control-plane-1`` is appended."""
MOST_MIB = 4 * 1024 * 1024
"""Maximum memory of a VM in MiB: 4 TiB, Proxmox's limit."""
