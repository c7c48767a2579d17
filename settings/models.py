"""The shape of the settings: one frozen model for each group of keys in a stack file.

Every field says its unit, its default and where a limit comes from. Rules that look at more than
one field live in ``rules.py``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, Any, Literal

import pyrage
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from settings.plan import Node, Role, plan_nodes

PROJECT = "ephemeral-castle"
"""The project's name: the namespace of its settings in a stack file."""
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOTTED = r"\d{1,3}(\.\d{1,3}){3}"
_VERSION = re.compile(r"v\d{1,4}(\.\d{1,4}){2}")
_CHART_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){2}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_URL = re.compile(r"https?://[^\s/:@]+(:\d{1,5})?(/[^\s?#]*)?")
_SECURE_URL = re.compile(_URL.pattern.replace("https?", "https"))
_EXTENSION = re.compile(r"[a-z0-9-]+/[a-z0-9][a-z0-9._-]*")
_REGISTRY = re.compile(r"\*|[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_KERNEL_ARGUMENT = re.compile(r"-?[A-Za-z0-9][^\s\"']*")
_TALOS_ARGUMENTS = ("ip", "talos.config", "talos.platform")
_TOKEN = re.compile(r"[^\s@]+@[^\s!]+![^\s=]+=[A-Za-z0-9-]+")
_PROXMOX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


_NFS = re.compile(r"nfs://[A-Za-z0-9][A-Za-z0-9.-]*:/[^\s?#]*")
_FOLDER = re.compile(r"[^\s\x00]([^\x00\n]*[^\s\x00])?")
_FIELD = r"[0-9*][0-9*/,-]*"
_SCHEDULE = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")
_DNS_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]*")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
"""Names of environment variables, as providers of DNS have them."""
MACHINE_NAME = re.compile(r"(worker|control-plane)-[1-9]\d{0,3}")
"""Short names of machines, as ``nodes.overrides`` writes them."""


class UserError(ValueError):
    """A value that cannot be used, with its reason and its cure in two parts."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure


@dataclass(frozen=True)
class AddressRange:
    """An inclusive run of IPv4 addresses, written ``192.168.1.240-192.168.1.245``."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, value: Any) -> AddressRange:
        """Read ``first-last``; raises ``UserError`` for anything else."""
        if isinstance(value, cls):
            return value
        try:
            first, last = (IPv4Address(part.strip()) for part in value.split("-"))
        except (AttributeError, ValueError):
            raise UserError(
                "is not a range of addresses", "write it as FIRST-LAST, two IPv4 addresses"
            ) from None
        return cls(first, last)

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    @property
    def size(self) -> int:
        """How many addresses it has; none where it ends before it begins."""
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


def _chart_version(value: str) -> str:
    if _CHART_VERSION.fullmatch(value):
        return value
    raise UserError("is not a full chart version", 'write all three numbers, as in "1.12.1"')


def _dns_label(value: str) -> str:
    if _DNS_LABEL.fullmatch(value):
        return value
    raise UserError(
        "is not a valid name",
        f"use small letters, digits and inner hyphens, at most {LONGEST_NAME} of them",
    )


def _host_name(value: str) -> str:
    labels = value.split(".")
    named = len(labels) > 1 and not labels[-1].isdigit()  # or it is an address
    if named and len(value) <= 253 and all(map(_DNS_LABEL.fullmatch, labels)):
        return value
    raise UserError(
        "is not a valid host name (RFC 1123)",
        "write a full name in small letters, as in whoami.example.org",
    )


def _wildcard(value: str) -> str:
    if value.startswith("*."):
        raise UserError("begins with *., which goes without saying", f"write {value[2:]}")
    return _host_name(value)


def _email(value: str) -> str:
    if _EMAIL.fullmatch(value):
        return value
    raise UserError("is not an e-mail address", "write it like me@example.org")


def _url(value: str) -> str:
    if _URL.fullmatch(value):
        return value.rstrip("/")
    raise UserError("is not a web address", "begin with https:// and a host name")


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) == len(values):
        return values
    raise UserError("names one twice", "name each once")


def _time_server(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        pass
    last = value.rpartition(".")[2]
    if last and not last.isdigit() and all(map(_DNS_LABEL.fullmatch, value.split("."))):
        return value
    raise UserError(
        "is neither an address nor a host name", "write it like 192.168.1.1 or time.cloudflare.com"
    )


def _registries(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not _REGISTRY.fullmatch(name):
            raise UserError(
                f"names {name!r}, which is not the name of a registry",
                "write it as images' names begin, docker.io or ghcr.io, or * for all others",
            )
    return value


def _kernel_argument(value: str) -> str:
    if not _KERNEL_ARGUMENT.fullmatch(value):
        raise UserError(
            "is not an argument of a kernel", "write each by itself, as in net.ifnames=0"
        )
    if value.lstrip("-").partition("=")[0] in _TALOS_ARGUMENTS:
        raise UserError(
            "decides how Talos finds its machine config and its address, which the castle does",
            "leave it out",
        )
    return value


def _odd(value: int) -> int:
    if value in (1, 3, 5):
        return value
    raise UserError("must be an odd number: etcd needs a majority", "choose 1, 3 or 5")


def _extension(value: str) -> str:
    if _EXTENSION.fullmatch(value):
        return value
    raise UserError("is not the name of a system extension", "write it like siderolabs/i915")


def _secure_url(value: str) -> str:
    if value.startswith("https://"):
        return _url(value)
    raise UserError("is not an https address", "write it like https://192.168.1.10:8006/")


def _token(value: SecretStr) -> SecretStr:
    if _TOKEN.fullmatch(value.get_secret_value()):
        return value
    raise UserError("is not an API token of Proxmox", "write it like USER@REALM!NAME=SECRET")


def _nfs(value: str) -> str:
    if _NFS.fullmatch(value):
        return value
    raise UserError(
        "is not the address of an NFS share", "write it like nfs://192.168.1.5:/backups"
    )


def _folder(value: str) -> str:
    if _FOLDER.fullmatch(value):
        return value
    raise UserError("is not the path of a folder", "write it like /mnt/nas/castle")


def _schedule(value: str) -> str:
    if _SCHEDULE.fullmatch(value):
        return value
    raise UserError(
        "is not a schedule of five fields (crontab(5))",
        'write minute, hour, day, month and weekday, as in "0 3 * * *"',
    )


def _tag(value: str) -> str:
    if _PROXMOX_NAME.fullmatch(value):
        return value
    raise UserError(
        "is not a name that Proxmox accepts", "use letters, digits, hyphen, dot or underscore"
    )


_GIT_URL = re.compile(r"(ssh://[^\s/:@]+@|https://)[^\s/:@]+(:\d{1,5})?/[^\s?#]+")
_GIT_BRANCH = re.compile(r"(?![-/.])(?!.*(\.\.|//|/\.|@\{|\.lock(/|$)))[\w./+@#-]+(?<![/.])")
"""The greater part of git-check-ref-format(1)."""
_REPOSITORY_PATH = re.compile(r"(?!/)(?!(.*/)?\.\.(/|$))[^\s\\]*")
_INTERVAL = re.compile(r"[1-9]\d{0,4}[smh]")


def _git_url(value: str) -> str:
    if scp := re.fullmatch(r"([^\s/:@]+@[^\s/:@]+):(?!//)([^\s:]+)", value):
        raise UserError(
            "is the short form of an SSH address, which Flux does not read",
            f"write ssh://{scp[1]}/{scp[2].lstrip('/')}",
        )
    if re.match(r"https://[^/]*@", value):
        raise UserError(
            "names a user or a password", "leave it out: flux.username and flux.token are for that"
        )
    if _GIT_URL.fullmatch(value):
        return value
    raise UserError(
        "is not the address of a git repository that Flux reads",
        "write ssh://git@HOST/PATH.git, or https://HOST/PATH.git",
    )


def _git_branch(value: str) -> str:
    if _GIT_BRANCH.fullmatch(value):
        return value
    raise UserError("is not the name of a branch", "write it like main")


def _repository_path(value: str) -> str:
    parts = value.removeprefix("./").strip("/").split("/")
    if not _REPOSITORY_PATH.fullmatch(value):
        raise UserError(
            "is not a folder inside the repository", "write it from the repository's top, ./apps"
        )
    return "./" + "/".join(part for part in parts if part not in ("", "."))


def _interval(value: str) -> str:
    if _INTERVAL.fullmatch(value):
        return value
    raise UserError("is not a length of time", "write a number with s, m or h, as in 1m")


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
            "give it the file without .pub that ssh-keygen made, all lines of it",
        )
    if "ENCRYPTED" in text or (found[1] == "OPENSSH " and not _opens_freely(found[2])):
        raise UserError(
            "is protected by a passphrase, which nobody could type for Flux",
            "make one without: ssh-keygen -t ed25519 -N '' -f deploy_key",
        )
    return SecretStr(text)


def _opens_freely(body: str) -> bool:
    """Whether a key of OpenSSH's own format has no passphrase (openssh PROTOCOL.key)."""
    try:
        raw = base64.b64decode(body)
    except ValueError:
        return False
    return raw.startswith(b"openssh-key-v1\0\0\0\0\x04none")


def _git_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text or re.search(r"\s", text):
        raise UserError("is not a token", "put it in as the git server showed it, in one line")
    return SecretStr(text)


def _snapshot(value: str) -> str:
    if value.endswith(".db.age"):
        return value
    if value.endswith(".db"):
        raise UserError(
            "is a plain snapshot, without the machine secrets that open what is in it: no new "
            "castle could read it",
            "name one that was made with an age key, FILE.db.age: `make age-key`, `make snapshot`",
        )
    raise UserError(
        "is not the name of a snapshot", "write it like .state/etcd/NAME.db.age (`make snapshot`)"
    )


def _dns_provider(value: str) -> str:
    if _DNS_PROVIDER.fullmatch(value):
        return value
    raise UserError(
        "is not the code of a provider",
        "take it from Traefik's list (doc.traefik.io, ACME, dnsChallenge), as in cloudflare",
    )


def _credential(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text:
        raise UserError("is empty", "put in what the provider shows")
    return SecretStr(text)


def _age_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    try:
        pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise UserError(
            "is not the secret key of age", "make one with `make age-key`: AGE-SECRET-KEY-1..."
        ) from None
    return SecretStr(text)


@dataclass(frozen=True)
class Like:
    """What an editor is told of a text that one of our own validators reads."""

    pattern: re.Pattern[str]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Any limit that the field has beside, and the pattern."""
        return {**handler(schema), "pattern": f"^{self.pattern.pattern}$"}


_SECRET = {
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
"""A secret as it stands in a stack file: encrypted by the engine, or, where it must be, as text."""

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
ChartVersion = Annotated[StrictStr, AfterValidator(_chart_version), Like(_CHART_VERSION)]
DnsLabel = Annotated[StrictStr, AfterValidator(_dns_label), Like(_DNS_LABEL)]
HostName = Annotated[
    StrictStr,
    AfterValidator(_host_name),
    Like(re.compile(rf"({_DNS_LABEL.pattern}\.)+(?!\d+$){_DNS_LABEL.pattern}")),
]
Domain = Annotated[
    StrictStr,
    AfterValidator(_wildcard),
    Like(re.compile(rf"({_DNS_LABEL.pattern}\.)+(?!\d+$){_DNS_LABEL.pattern}")),
]
Email = Annotated[StrictStr, AfterValidator(_email), Like(_EMAIL)]
Url = Annotated[StrictStr, AfterValidator(_url), Like(_URL)]
SecureUrl = Annotated[StrictStr, AfterValidator(_secure_url), Like(_SECURE_URL)]
Token = Annotated[SecretStr, AfterValidator(_token), WithJsonSchema(_SECRET)]
ProxmoxName = Annotated[StrictStr, AfterValidator(_tag), Like(_PROXMOX_NAME)]
Folder = Annotated[StrictStr, AfterValidator(_folder), Like(_FOLDER)]
NfsShare = Annotated[StrictStr, AfterValidator(_nfs), Like(_NFS)]
Schedule = Annotated[StrictStr, AfterValidator(_schedule), Like(_SCHEDULE)]
GitUrl = Annotated[StrictStr, AfterValidator(_git_url), Like(_GIT_URL)]
GitBranch = Annotated[StrictStr, AfterValidator(_git_branch), Like(_GIT_BRANCH)]
RepositoryPath = Annotated[StrictStr, AfterValidator(_repository_path), Like(_REPOSITORY_PATH)]
Interval = Annotated[StrictStr, AfterValidator(_interval), Like(_INTERVAL)]
DeployKey = Annotated[SecretStr, AfterValidator(_deploy_key), WithJsonSchema(_SECRET)]
GitToken = Annotated[SecretStr, AfterValidator(_git_token), WithJsonSchema(_SECRET)]
SnapshotFile = Annotated[StrictStr, AfterValidator(_snapshot), Like(re.compile(r".*[^/]\.db\.age"))]
DnsProvider = Annotated[StrictStr, AfterValidator(_dns_provider), Like(_DNS_PROVIDER)]
Credential = Annotated[SecretStr, AfterValidator(_credential), WithJsonSchema(_SECRET)]
AgeKey = Annotated[SecretStr, AfterValidator(_age_key), WithJsonSchema(_SECRET)]
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
"""Least cores of a control plane that work."""
CONTROL_PLANE_MIB = 2048
"""Least memory of a control plane that works."""
LONGEST_NAME = 47
"""Longest name of a cluster: ``-control-plane-1`` is added, and a host name has 63 at most."""
MOST_MIB = 4 * 1024 * 1024
"""Proxmox' own limit for the memory of a machine, 4 TiB."""


class Group(BaseModel):
    """A group of settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_an_empty_group(cls, value: Any) -> Any:
        """A key with nothing behind it: what it needs is then named, and the rest has defaults."""
        return {} if value is None else value


class Network(Group):
    """The home network that the castle stands in."""

    cidr: Network4
    """The IPv4 network of the house, as in ``192.168.1.0/24``."""
    gateway: Address
    """The router's address."""
    nameservers: tuple[Address, ...] = ()
    """DNS servers of the nodes; the gateway where none is given."""
    dhcp: Range | None = None
    """What the router hands out by DHCP; nothing of the castle may lie in it."""
    bridge: ProxmoxName = "vmbr0"
    """The Proxmox bridge that the machines are plugged into."""
    vlan: Annotated[Whole, Field(ge=1, le=4094)] | None = None
    """VLAN tag of the machines' network device; none by default."""


class Cluster(Group):
    """The Talos cluster."""

    name: Annotated[DnsLabel, Field(max_length=LONGEST_NAME)] = "castle"
    """Name of the cluster, and the first part of every machine's name, which has 63 at most."""
    # renovate: datasource=github-releases depName=siderolabs/talos
    talos: Version = "v1.13.9"
    """Talos version, with its leading v."""
    # renovate: datasource=github-releases depName=kubernetes/kubernetes
    kubernetes: Version = "v1.36.3"
    """Kubernetes version, with its leading v."""
    vip: Address
    """Virtual IP of the Kubernetes API; the control planes carry it by election."""
    restore_from: SnapshotFile | None = None
    """Snapshot that a new castle begins with, as ``make snapshot`` encrypts it; a path from the
    project's folder. A castle that lives cannot be restored; there the file may be gone."""
    ntp: tuple[TimeServer, ...] = ()
    """Time servers of the nodes; Talos' own, time.cloudflare.com, where none is given."""
    registry_mirrors: Mirrors = {}
    """By registry (``docker.io``): addresses where its images are looked for first."""


class Machine(Group):
    """What every machine of one role has, unless ``nodes.overrides`` says otherwise."""

    os_disk_gib: Annotated[Whole, Field(ge=10)] = 34
    """Size of the OS disk in GiB; Talos asks for at least 10."""
    keep_data_disk_on_destroy: StrictBool = False
    """Whether the data disk outlives its machine, and the next machine of its name gets it."""
    patches: Patches = ()
    """Strategic merge patches of the machine config; what the castle sets itself is refused."""


class ControlPlanes(Machine):
    """The control planes: etcd and the Kubernetes API."""

    count: Annotated[Whole, AfterValidator(_odd), Field(json_schema_extra={"enum": [1, 3, 5]})] = 1
    """How many: 1, 3 or 5, because etcd needs a majority to live."""
    first_address: Address
    """Address of the first one; the others follow it, one by one."""
    cores: Annotated[Whole, Field(ge=CONTROL_PLANE_CORES, le=512)] = 2
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=CONTROL_PLANE_MIB, le=MOST_MIB)] = 4096
    """Memory in MiB; a little above the least that Talos' health check lets pass."""
    data_disk_gib: Annotated[Whole, Field(ge=1)] | None = None
    """Size of the data disk in GiB; none by default: control planes store nothing."""


class Workers(Machine):
    """The workers: they run what the house runs, and carry Longhorn's disks."""

    count: Annotated[Whole, Field(ge=0, le=250)] = 3
    """How many; with 0 the control planes do the work."""
    first_address: Address | None = None
    """Address of the first one; needed with ``count`` above 0."""
    cores: Annotated[Whole, Field(ge=1, le=512)] = 4
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] = 8192
    """Memory in MiB; a little above the least that Talos' health check lets pass."""
    data_disk_gib: Annotated[Whole, Field(ge=1)] | None = 43
    """Size of the data disk in GiB; ``null`` for workers that store nothing."""


class Override(Group):
    """What one machine has that differs from its role; only the keys given count."""

    address: Address | None = None
    """Its address, in place of its turn in the run."""
    vm_id: Annotated[Whole, Field(ge=100, le=999_999_999)] | None = None
    """Its VM id in Proxmox."""
    host: ProxmoxName | None = None
    """The Proxmox node that it runs on; another one migrates it."""
    cores: Annotated[Whole, Field(ge=1, le=512)] | None = None
    """Virtual CPU cores."""
    memory_mib: Annotated[Whole, Field(ge=1024, le=MOST_MIB)] | None = None
    """Memory in MiB."""
    os_disk_gib: Annotated[Whole, Field(ge=10)] | None = None
    """Size of the OS disk in GiB."""
    data_disk_gib: Annotated[Whole, Field(ge=1)] | None = None
    """Size of the data disk in GiB; ``null`` for none."""
    keep_data_disk_on_destroy: StrictBool | None = None
    """Whether its data disk outlives it."""
    patches: Patches | None = None
    """Patches of its machine config, after those of its role."""


class Nodes(Group):
    """The machines."""

    control_planes: ControlPlanes
    workers: Workers = Workers(count=0)
    overrides: Annotated[
        dict[str, Override],
        BeforeValidator(lambda it: it or {}),
        Field(json_schema_extra={"propertyNames": {"pattern": f"^{MACHINE_NAME.pattern}$"}}),
    ] = {}
    """By short name: ``worker-3``, ``control-plane-1``."""


class Proxmox(Group):
    """Where the machines live."""

    hosts: Annotated[
        tuple[ProxmoxName, ...],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_different),
    ] = ("pve",)
    """Proxmox nodes that machines are spread over; control planes land on different ones."""
    image_datastore: ProxmoxName = "local"
    """Storage with content type ``import``, on each host."""
    disk_datastore: ProxmoxName = "local-lvm"
    """Storage with content type ``images``, on each host."""
    first_vm_id: Annotated[Whole, Field(ge=100, le=999_999_000)] = 8000
    """Id of the first control plane; the workers begin 10 higher."""
    pool: ProxmoxName | None = None
    """Resource pool that is made for the machines, and goes with them; none by default."""


class Image(Group):
    """The Talos image."""

    factory: Url = "https://factory.talos.dev"
    """The Image Factory."""
    extensions: tuple[Extension, ...] = ()
    """Official system extensions beside the three that the castle needs."""
    kernel_arguments: tuple[KernelArgument, ...] = ()
    """Extra arguments of the kernel; one that begins with a hyphen takes Talos' own away."""


class Chart(Group):
    """A Helm chart; the defaults are the versions that the castle's values are written for."""

    chart_version: ChartVersion
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr
    """Address of the chart repository, or a local folder that holds the chart."""


class Backup(Group):
    """Where Longhorn keeps backups of all volumes, the certificates' among them, and how many."""

    target: NfsShare
    """An NFS share that outlives the castle: ``nfs://192.168.1.5:/backups``."""
    schedule: Schedule = "0 3 * * *"
    """When each volume is backed up: minute, hour, day, month, weekday, in UTC."""
    retain: Annotated[Whole, Field(ge=1, le=100)] = 7
    """How many backups of a volume are kept; Longhorn's own limit is 100."""


class Longhorn(Chart):
    """Storage on the data disks."""

    replicas: Annotated[Whole, Field(ge=1, le=20)] | None = None
    """Copies of each volume; by default 2, or 1 where only one node carries a data disk."""
    backup: Backup | None = None
    """Regular backups to a share outside of the castle; none by default."""
    # renovate: datasource=helm depName=longhorn registryUrl=https://charts.longhorn.io
    chart_version: ChartVersion = "1.12.1"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://charts.longhorn.io"
    """Address of the chart repository, or a local folder that holds the chart."""


class MetalLB(Chart):
    """Addresses for Services of type LoadBalancer."""

    pool: Range
    """The addresses that MetalLB hands out; outside the router's DHCP range."""
    # renovate: datasource=helm depName=metallb registryUrl=https://metallb.github.io/metallb
    chart_version: ChartVersion = "0.16.1"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://metallb.github.io/metallb"
    """Address of the chart repository, or a local folder that holds the chart."""


class DnsChallenge(Group):
    """Certificates by DNS-01: Let's Encrypt looks into the DNS, and needs no open port.

    For hosts that nobody reaches from outside, and for wildcards.
    """

    provider: DnsProvider
    """Who answers for the domain, by its code in Traefik's list of providers: ``cloudflare``."""
    credentials: Annotated[
        dict[str, Credential], BeforeValidator(lambda it: {} if it is None else it)
    ] = {}
    """What Traefik signs in with there, by the environment variables that its list names; each
    only by ``pulumi config set --secret --path``."""
    resolvers: tuple[Address, ...] = ()
    """DNS servers that are asked whether the record is there; those of the castle by default. Where
    the router itself answers for the domain, name public ones: ``[1.1.1.1, 9.9.9.9]``."""
    delay_s: Annotated[Whole, Field(ge=0, le=3600)] = 0
    """Seconds before they are asked, for a provider who is slow."""
    wildcards: tuple[Domain, ...] = ()
    """Domains that get one certificate for themselves and every name right below them."""


class AcmeBackup(Group):
    """Where the ACME account and the certificates outlive the castle, encrypted for
    ``sops.age_key``; without that key they are not kept."""

    folder: Folder = ".state/certificates"
    """A folder, from the project's own on; git ignores the one by default. What is in it is
    encrypted. A folder that is missing is made, its parent is not."""


class Acme(Group):
    """Certificates from Let's Encrypt."""

    email: Email
    """Contact of the ACME account."""
    server: Literal["staging", "production"] = "staging"
    """``staging`` until all works: production has rate limits."""
    dns: DnsChallenge | None = None
    """DNS-01 in place of HTTP-01, which asks over port 80."""
    backup: AcmeBackup = AcmeBackup()


class Traefik(Chart):
    """The way in."""

    exposure: Literal["load-balancer", "host-network"] = "load-balancer"
    """A Service at an address of the MetalLB pool, or ports 80/443 of the control plane (VIP)."""
    address: Address | None = None
    """Ingress address with ``load-balancer``; the first of the pool by default."""
    acme: Acme
    # renovate: datasource=helm depName=traefik registryUrl=https://traefik.github.io/charts
    chart_version: ChartVersion = "41.3.0"
    """Version of the chart: one whose values the castle writes."""
    chart_repository: StrictStr = "https://traefik.github.io/charts"
    """Address of the chart repository, or a local folder that holds the chart."""


class Whoami(Group):
    """The demo site."""

    host: HostName
    """Public name of the site; its DNS record points to the router."""


class Flux(Chart):
    """GitOps: what runs on the castle comes from a git repository; none without this group."""

    url: GitUrl
    """Address of the manifests' repository: ``ssh://`` or ``https://``."""
    branch: GitBranch = "main"
    """Branch that is followed."""
    path: RepositoryPath = "./"
    """Folder in the repository whose manifests are applied."""
    interval: Interval = "1m"
    """How often the repository is looked at: a number with s, m or h."""
    deploy_key: DeployKey | None = None
    """Private SSH key, for ``ssh://``; only by ``pulumi config set --secret``."""
    known_hosts: StrictStr | None = None
    """What ``ssh-keyscan`` says of the git server, for ``ssh://``: Flux trusts no other host."""
    username: StrictStr = "git"
    """User name that goes with the token; GitHub and Gitea take any."""
    token: GitToken | None = None
    """Access token or password, for ``https://``; only by ``pulumi config set --secret``. None
    for a public repository."""
    # renovate: datasource=docker depName=ghcr.io/controlplaneio-fluxcd/charts/flux-operator
    chart_version: ChartVersion = "0.49.0"
    """Version of the Flux Operator's chart, and with it of Flux: the operator brings it along."""
    chart_repository: StrictStr = "oci://ghcr.io/controlplaneio-fluxcd/charts"
    """Address of the chart repository, or a local folder that holds the chart."""


class Sops(Group):
    """Secrets that lie encrypted in a repository."""

    age_key: AgeKey | None = None
    """Secret key of age, which Flux decrypts with; ``make age-key`` makes it. Only by
    ``pulumi config set --secret``."""


class Upkeep(Group):
    """How long the steps of an upgrade, a power-cycle or a removal may take, each for one node."""

    drain_s: Annotated[Whole, Field(ge=5, le=86400)] = 600
    """Seconds that the pods of a node have to go elsewhere."""
    return_s: Annotated[Whole, Field(ge=10, le=86400)] = 900
    """Seconds that a node has to come back and be ready."""
    rebuild_s: Annotated[Whole, Field(ge=5, le=86400)] = 3600
    """Seconds that Longhorn has to rebuild or move the replicas of a node."""


class Endpoint(Group):
    """How Proxmox is reached: keys of the ``proxmoxve:`` namespace."""

    endpoint: SecureUrl
    """Address of the Proxmox API: ``https://192.168.1.10:8006/``."""
    api_token: Token = Field(alias="apiToken")
    """Token of the API, ``USER@REALM!NAME=SECRET``; only by ``pulumi config set --secret``."""
    insecure: StrictBool = False
    """Accept Proxmox' self-signed certificate."""


class Settings(Group):
    """All settings of one stack."""

    stack: StrictStr
    """The stack's name; not a key of the file."""
    encrypted: frozenset[str] = frozenset()
    """The groups in which something is encrypted; not a key of the file."""
    proxmoxve: Endpoint
    network: Network
    cluster: Cluster
    nodes: Nodes
    proxmox: Proxmox = Proxmox()
    image: Image = Image()
    longhorn: Longhorn = Longhorn()
    metallb: MetalLB
    traefik: Traefik
    whoami: Whoami
    flux: Flux | None = None
    sops: Sops = Sops()
    upkeep: Upkeep = Upkeep()

    @property
    def owner(self) -> str:
        """Identity of this castle: tags its machines, and begins the names of its files."""
        return f"{PROJECT}-{self.stack}".lower()

    @property
    def machines(self) -> tuple[Node, ...]:
        """Every machine, control planes first, each with all that is known of it."""
        return plan_nodes(self.cluster, self.nodes, self.proxmox)

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """The control planes, in order."""
        return tuple(node for node in self.machines if node.role is Role.CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Node, ...]:
        """The workers, in order."""
        return tuple(node for node in self.machines if node.role is Role.WORKER)

    @property
    def nameservers(self) -> tuple[IPv4Address, ...]:
        """DNS servers of the nodes."""
        return self.network.nameservers or (self.network.gateway,)

    @property
    def age_recipient(self) -> str | None:
        """Whom the castle's own files are encrypted for: the public half of ``sops.age_key``."""
        if self.sops.age_key is None:
            return None
        return str(
            pyrage.x25519.Identity.from_str(self.sops.age_key.get_secret_value()).to_public()
        )

    @property
    def replicas(self) -> int:
        """Copies of each Longhorn volume."""
        carriers = sum(node.data_disk_gib is not None for node in self.machines)
        return self.longhorn.replicas or min(2, carriers)

    @property
    def ingress_address(self) -> IPv4Address:
        """Where the router forwards ports 80 and 443 to."""
        if self.traefik.exposure == "host-network":
            return self.cluster.vip
        return self.traefik.address or self.metallb.pool.first
