"""Who may do what: roles, and the paths on which the token has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from . import errors

_ALL = """
    Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit
    Pool.Allocate Pool.Audit SDN.Allocate SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit Sys.Modify
    VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit
    VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network VM.Config.Options VM.Console
    VM.GuestAgent.Audit VM.GuestAgent.Unrestricted VM.Migrate VM.Monitor VM.PowerMgmt
"""
ADMINISTRATOR = frozenset(_ALL.split())
_ALWAYS_LISTED = ("/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms")


@dataclasses.dataclass
class Access:
    """The roles of the cluster, and which of them the token has where.

    What is not allowed is shown. Only a few routes, which read, refuse it (``require``).
    """

    roles: dict[str, frozenset[str]] = dataclasses.field(
        default_factory=lambda: {"Administrator": ADMINISTRATOR, "NoAccess": frozenset()}
    )
    acl: dict[str, frozenset[str]] = dataclasses.field(
        default_factory=lambda: {"/": frozenset({"Administrator"})}
    )
    """By path: names of roles, all of them propagated."""

    def on(self, path: str) -> Mapping[str, int]:
        """The privileges on one path: an entry replaces all that would come from above it
        (pve-access-control AccessControl.pm ``roles``)."""
        while path not in self.acl and path != "/":
            path = path.rpartition("/")[0] or "/"
        names = self.acl.get(path, frozenset())
        return {name: 1 for role in sorted(names) for name in sorted(self.roles.get(role, ()))}

    def require(self, path: str, *privileges: str) -> None:
        """Refuse a request unless the token has one of the privileges on a path."""
        if not self.on(path).keys() & set(privileges):
            raise errors.forbidden(path, "|".join(privileges))

    def everywhere(self) -> Mapping[str, Mapping[str, int]]:
        """By path, where there are any (pve-access-control ``get_effective_permissions``)."""
        found = {path: self.on(path) for path in (*_ALWAYS_LISTED, *self.acl)}
        return {path: privileges for path, privileges in found.items() if privileges}
