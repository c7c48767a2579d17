"""The Proxmox privileges that the API token needs, and the check of them.

Sources: qemu-server ``PVE/API2/Qemu.pm`` (VMs), pve-storage ``PVE/API2/Storage`` (images),
pve-manager ``PVE/API2/Nodes.pm`` and ``Pool.pm``. README.md grants the same privileges; a test
compares both lists.
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
class ProxmoxRole:
    """A Proxmox role that README.md creates."""

    name: str
    privileges: tuple[str, ...]


CASTLE = ProxmoxRole(
    "Castle",
    (
        "VM.Allocate",
        "VM.Audit",
        "VM.PowerMgmt",
        "VM.Migrate",
        "VM.Config.Disk",
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
"""The role on ``/``. It applies to everything except the image storage."""
CASTLE_IMAGES = ProxmoxRole(
    "CastleImages",
    (
        "Datastore.Allocate",
        "Datastore.AllocateSpace",
        "Datastore.AllocateTemplate",
        "Datastore.Audit",
    ),
)
"""The role on the image storage. A role on a path *replaces* the roles of ``/``
(pve-access-control ``AccessControl.pm``, ``roles``: "overwrite previous settings"), so this role
has all privileges that the path needs."""
RARELY_NEEDED = {"VM.Migrate": "a VM moves to another host"}
"""Privileges that ``up`` needs only for some changes, and the change."""
RUN_ON_A_HOST = "run in a shell of a Proxmox host: "


@dataclass(frozen=True)
class Need:
    """Privileges that the token needs on one path, and the role that grants them."""

    path: str
    privileges: frozenset[str]
    role: ProxmoxRole
    role_path: str
    """The path on which README.md grants the role."""


def needs(settings: Settings) -> Iterator[Need]:
    """The privileges that the token needs for these settings, by path."""
    images, disks = settings.proxmox.image_datastore, settings.proxmox.disk_datastore

    def need_of_castle(path: str, prefix: str) -> Need:
        names = frozenset(name for name in CASTLE.privileges if name.startswith(prefix))
        return Need(path, names, CASTLE, "/")

    for node in settings.machines:
        yield need_of_castle(f"/vms/{node.vm_id}", "VM.")
    for host in sorted({node.host for node in settings.machines}):
        yield need_of_castle(f"/nodes/{host}", "Sys.")
    if disks != images:
        yield need_of_castle(f"/storage/{disks}", "Datastore.")
    path = f"/storage/{images}"
    yield Need(path, frozenset(CASTLE_IMAGES.privileges), CASTLE_IMAGES, path)
    vlan = f"/{settings.network.vlan}" if settings.network.vlan else ""
    yield need_of_castle(f"/sdn/zones/localnetwork/{settings.network.bridge}{vlan}", "SDN.")
    if settings.proxmox.pool:
        yield need_of_castle(f"/pool/{settings.proxmox.pool}", "Pool.")


class _GrantedPrivileges:
    """The privileges of the token, read from Proxmox."""

    def __init__(self, proxmox: Proxmox) -> None:
        self._proxmox = proxmox
        self.listed: Mapping[str, Mapping[str, int]] = proxmox.read("/access/permissions")
        self._unlisted: dict[str, frozenset[str]] = {}

    def on(self, path: str) -> frozenset[str]:
        """The privileges on a path. The value 0 of a privilege means that paths below do not
        inherit it; on the path itself it is granted."""
        if path in self.listed:
            return frozenset(self.listed[path])
        # Paths without an entry have the same privileges if their parent is the same. So one
        # request is enough for all VMs.
        parent = path.rpartition("/")[0]
        if parent not in self._unlisted:
            answer = self._proxmox.read(f"/access/permissions?path={path}")
            self._unlisted[parent] = frozenset(answer.get(path) or {})
        return self._unlisted[parent]

    def replaced_at(self, path: str, privilege: str) -> str | None:
        """The path of the entry that removes a privilege of ``/``; None if ``/`` has no such
        privilege to inherit."""
        if not int(self.listed.get("/", {}).get(privilege, 0)):
            return None
        parts = path.strip("/").split("/")
        for length in range(1, len(parts) + 1):
            above = "/" + "/".join(parts[:length])
            if above in self.listed and privilege not in self.listed[above]:
                return above
        return path


def check_privileges(context: Context) -> Iterator[Finding]:
    """Check that the token has every needed privilege. The fix has the commands that grant them."""
    settings = context.settings
    token_id = settings.proxmoxve.token_id
    granted = _GrantedPrivileges(context.proxmox)
    needed = list(needs(settings))
    missing: dict[tuple[str, ProxmoxRole, str], list[str]] = defaultdict(list)
    for need in needed:
        for privilege in sorted(need.privileges - granted.on(need.path)):
            role_path = granted.replaced_at(need.path, privilege) or need.role_path
            missing[privilege, need.role, role_path].append(need.path)
    if not missing:
        names = {privilege for need in needed for privilege in need.privileges}
        yield ok(token_id, f"has the {len(names)} privileges that it needs")
        return
    roles = {
        entry["roleid"]: frozenset(filter(None, (entry.get("privs") or "").split(",")))
        for entry in context.proxmox.read("/access/roles")
    }
    groups: dict[tuple[ProxmoxRole, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (privilege, role, role_path), paths in missing.items():
        groups[role, role_path, tuple(paths)].append(privilege)
    commands = {
        (role, role_path, paths): [
            *_pveum_commands(role, role_path, privileges, token_id, roles, granted)
        ]
        for (role, role_path, paths), privileges in groups.items()
    }
    if not any(granted.listed.values()):
        every_command = dict.fromkeys(it for group in commands.values() for it in group)
        yield failure(token_id, "has no privileges", RUN_ON_A_HOST + "; ".join(every_command))
        return
    for group, privileges in groups.items():
        fix = RUN_ON_A_HOST + "; ".join(commands[group])
        yield from _report_missing(privileges, group[2], fix)


def _report_missing(privileges: list[str], paths: tuple[str, ...], fix: str) -> Iterator[Finding]:
    more = f" and {count(len(paths) - 2, 'more path')}" if len(paths) > 2 else ""
    verb = "is" if len(privileges) == 1 else "are"
    text = f"missing on {', '.join(paths[:2])}{more}"
    if any(name not in RARELY_NEEDED for name in privileges):
        # One failure for all, because the same commands grant all of them.
        yield failure(", ".join(privileges), f"{verb} {text}", fix)
        return
    for name in privileges:
        yield warning(name, f"is {text}; `up` needs it if {RARELY_NEEDED[name]}", fix)


def _pveum_commands(
    role: ProxmoxRole,
    role_path: str,
    privileges: list[str],
    token_id: str,
    roles: Mapping[str, frozenset[str]],
    granted: _GrantedPrivileges,
) -> Iterator[str]:
    """The commands that grant the missing privileges, for a shell of a Proxmox host."""
    known = roles.get(role.name)
    absent = set(privileges) - (known or frozenset())
    if known is None:
        yield f'pveum role add {role.name} --privs "{" ".join(role.privileges)}"'
    elif absent:
        yield f'pveum role modify {role.name} --append 1 --privs "{" ".join(sorted(absent))}"'
    is_assigned = known and absent == set(privileges) and known <= granted.on(role_path)
    if not is_assigned:
        # A token with privilege separation has only the privileges that both it and its user have.
        # The quotes are for the shell, which expands an exclamation mark.
        user = token_id.partition("!")[0]
        yield (
            f"pveum acl modify {role_path} --users {user} --tokens '{token_id}' --roles {role.name}"
        )
