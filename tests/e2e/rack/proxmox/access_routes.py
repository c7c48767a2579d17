"""What the token may do (pve-access-control ``PVE/API2/AccessControl.pm``, ``Role.pm``)."""

from __future__ import annotations

from collections.abc import Iterator

from .access import Access
from .call import Call, Route


class AccessRoutes:
    """Privileges and roles."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def __iter__(self) -> Iterator[Route]:
        yield "GET", "/access/permissions", self.permissions
        yield "GET", "/access/roles", self.roles

    async def permissions(self, call: Call) -> object:
        """Tell the privileges of the token on one path, or on all that have an entry."""
        path = call.parameters.get("path")
        return self._access.everywhere() if path is None else {path: self._access.on(path)}

    async def roles(self, _: Call) -> object:
        """List the roles with their privileges."""
        return [
            {"roleid": name, "privs": ",".join(sorted(privileges)), "special": 0}
            for name, privileges in self._access.roles.items()
        ]
