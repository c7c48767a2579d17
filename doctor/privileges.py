"""The privileges that the castle's token needs: the one list, and the check against it.

Read from Proxmox' own checks: qemu-server ``PVE/API2/Qemu.pm`` (machines), pve-storage
``PVE/API2/Storage`` (images), pve-manager ``PVE/API2/Nodes.pm`` and ``Pool.pm``. README.md shows
the same list as commands, and a test compares the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from doctor.context import Context
from doctor.findings import Finding, failure, ok, warning
from doctor.proxmox import Proxmox
from settings.models import Settings
from settings.wording import count


@dataclass(frozen=True)
class Role:
    """A role of Proxmox, as the README makes it."""

    name: str
    privileges: tuple[str, ...]


CASTLE = Role(
    "Castle",
    (
        "VM.Allocate",
        "VM.Audit",
        "VM.PowerMgmt",
        "VM.Migrate",
        "VM.Config.Disk",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Config.Cloudinit",
        "Datastore.AllocateSpace",
        "Datastore.Audit",
        "Pool.Allocate",
        "Pool.Audit",
        "Sys.Audit",
        "Sys.AccessNetwork",
        "SDN.Use",
    ),
)
"""On ``/``, for everything but the storage of the images."""
CASTLE_IMAGES = Role(
    "CastleImages",
    (
        "Datastore.Allocate",
        "Datastore.AllocateSpace",
        "Datastore.AllocateTemplate",
        "Datastore.Audit",
    ),
)
"""On the storage of the images. A role there *replaces* what ``/`` would give (pve-access-control
``AccessControl.pm`` ``roles``: "overwrite previous settings"), so it holds all that is needed."""
ONLY_SOMETIMES = {"VM.Migrate": "a machine moves to another host"}
"""Privileges that an ``up`` needs only when something happens."""


@dataclass(frozen=True)
class Need:
    """Privileges that are needed on one path, and the role that grants them."""

    path: str
    privileges: frozenset[str]
    role: Role
    home: str
    """Where the README gives that role."""


def needs(settings: Settings) -> Iterator[Need]:
    """What this castle needs, path by path."""
    images, disks = settings.proxmox.image_datastore, settings.proxmox.disk_datastore

    def castle(path: str, prefix: str) -> Need:
        names = frozenset(name for name in CASTLE.privileges if name.startswith(prefix))
        return Need(path, names, CASTLE, "/")

    for node in settings.machines:
        yield castle(f"/vms/{node.vm_id}", "VM.")
    for host in sorted({node.host for node in settings.machines}):
        yield castle(f"/nodes/{host}", "Sys.")
    if disks != images:
        yield castle(f"/storage/{disks}", "Datastore.")
    path = f"/storage/{images}"
    yield Need(path, frozenset(CASTLE_IMAGES.privileges), CASTLE_IMAGES, path)
    vlan = f"/{settings.network.vlan}" if settings.network.vlan else ""
    yield castle(f"/sdn/zones/localnetwork/{settings.network.bridge}{vlan}", "SDN.")
    if settings.proxmox.pool:
        yield castle(f"/pool/{settings.proxmox.pool}", "Pool.")


class _Granted:
    """The privileges that the token has."""

    def __init__(self, proxmox: Proxmox) -> None:
        self._proxmox = proxmox
        self.listed: Mapping[str, Mapping[str, int]] = proxmox.read("/access/permissions")
        self._unlisted: dict[str, frozenset[str]] = {}

    def on(self, path: str) -> frozenset[str]:
        """Those on one path. A value of 0 is one that is not handed down, but it is there."""
        if path in self.listed:
            return frozenset(self.listed[path])
        # What has no entry of its own has what its neighbours have: one answer for all machines.
        parent = path.rpartition("/")[0]
        if parent not in self._unlisted:
            answer = self._proxmox.read(f"/access/permissions?path={path}")
            self._unlisted[parent] = frozenset(answer.get(path) or {})
        return self._unlisted[parent]

    def replaced_at(self, path: str, privilege: str) -> str | None:
        """Where an entry takes a privilege away that ``/`` hands down; none where ``/`` has it
        not."""
        if not int(self.listed.get("/", {}).get(privilege, 0)):
            return None
        parts = path.strip("/").split("/")
        for length in range(1, len(parts) + 1):
            above = "/" + "/".join(parts[:length])
            if above in self.listed and privilege not in self.listed[above]:
                return above
        return path


def check(context: Context) -> Iterator[Finding]:
    """Every privilege on every path; what is missing with the commands that grant it."""
    settings = context.settings
    user = settings.proxmoxve.token_id
    owner, _, token = user.partition("!")
    granted = _Granted(context.proxmox)
    if not any(granted.listed.values()):
        yield failure(
            user,
            "has no privilege at all",
            f"pveum user token modify {owner} {token} --privsep 0, and the commands of step 2 of "
            "README.md",
        )
        return
    wanted = list(needs(settings))
    missing: dict[tuple[str, Role, str], list[str]] = defaultdict(list)
    for need in wanted:
        for privilege in sorted(need.privileges - granted.on(need.path)):
            where = granted.replaced_at(need.path, privilege) or need.home
            missing[privilege, need.role, where].append(need.path)
    roles = {
        entry["roleid"]: frozenset(filter(None, (entry.get("privs") or "").split(",")))
        for entry in (context.proxmox.read("/access/roles") if missing else ())
    }
    bundles: dict[tuple[Role, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (privilege, role, where), paths in missing.items():
        bundles[role, where, tuple(paths)].append(privilege)
    for (role, where, on_paths), privileges in bundles.items():
        fix = "; ".join(_commands(role, where, privileges, owner, roles, granted))
        yield from _missing(privileges, on_paths, fix)
    if not missing:
        names = {privilege for need in wanted for privilege in need.privileges}
        yield ok(user, f"has the {len(names)} privileges that the castle needs")


def _missing(privileges: list[str], paths: tuple[str, ...], fix: str) -> Iterator[Finding]:
    more = f" and {count(len(paths) - 2, 'more path')}" if len(paths) > 2 else ""
    places = f"is missing on {', '.join(paths[:2])}{more}"
    needed = [name for name in privileges if name not in ONLY_SOMETIMES]
    if needed:  # the one command grants the others too
        yield failure(", ".join(privileges), places, fix)
        return
    for name in privileges:
        yield warning(name, f"{places}; it is needed when {ONLY_SOMETIMES[name]}", fix)


def _commands(
    role: Role,
    where: str,
    privileges: list[str],
    owner: str,
    roles: Mapping[str, frozenset[str]],
    granted: _Granted,
) -> Iterator[str]:
    """The commands, in a shell of a host, that grant what is missing."""
    known = roles.get(role.name)
    absent = set(privileges) - (known or frozenset())
    if known is None:
        yield f'pveum role add {role.name} --privs "{" ".join(role.privileges)}"'
    elif absent:
        yield f'pveum role modify {role.name} --append 1 --privs "{" ".join(sorted(absent))}"'
    in_use = known and absent == set(privileges) and known <= granted.on(where)
    if not in_use:
        yield f"pveum acl modify {where} --users {owner} --roles {role.name}"
