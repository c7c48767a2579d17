"""Checks etcd and removes members, through talosctl. Snapshots are in ``snapshots.py``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from clients.errors import OperationError
from clients.talos.talosctl import Talosctl, TalosctlError
from lifecycle.operations.context import Peer

COMMAND_TIMEOUT_S = 30
"""Timeout of one command of talosctl."""


@dataclass(frozen=True)
class Member:
    """A member of etcd."""

    id: str
    """Member id, hexadecimal."""
    name: str
    """Name of its node; empty for a member that was added but never started."""
    address: str
    """Address of its node."""

    @property
    def label(self) -> str:
        """The name for messages: the node's name, or the address if the name is unknown."""
        return self.name or self.address

    def belongs_to(self, node: Peer) -> bool:
        """Whether this is the member of a node."""
        return self.name == node.name if self.name else self.address == node.address


class Etcd:
    """The etcd of one cluster; ``control_planes`` are the addresses to ask."""

    def __init__(self, talos: Talosctl, control_planes: Iterable[str]) -> None:
        self._talos = talos
        self._addresses = list(control_planes)

    def members(self) -> list[Member]:
        """All members, from the first control plane that answers. Raises ``OperationError``."""
        refusals = []
        for address in self._addresses:
            try:
                return [_member(row) for row in _rows(self._run(address, "etcd", "members"))]
            except TalosctlError as error:
                refusals.append(str(error))
        raise OperationError(
            f"No control plane lists the members of etcd: {'; '.join(refusals)}. Start or repair a "
            "control plane."
        )

    def find_faults(self, members: Iterable[Member]) -> dict[str, str]:
        """The fault of each unhealthy member, by label; empty if all members are healthy."""
        return {member.label: fault for member in members if (fault := self._find_fault(member))}

    def require_health(self) -> list[Member]:
        """Return the members. Raises ``OperationError`` unless all are healthy."""
        members = self.members()
        if faults := self.find_faults(members):
            text = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
            raise OperationError(
                f"etcd is not healthy ({text}). Nothing has been touched. Repair etcd first (check "
                "`talosctl etcd status` and `talosctl service etcd`), then run `up` again."
            )
        return members

    def require_quorum_without(self, node: Peer, *, is_removed: bool) -> Member | None:
        """Return the member of a node, ``None`` if it has none. Raises ``OperationError`` if etcd
        would lose its majority without this member.

        A removed member no longer counts for the majority; a member that reboots still does
        (``is_removed``). The only member may reboot, because no other member can take over.
        """
        members = self.members()
        own = next((member for member in members if member.belongs_to(node)), None)
        others = [member for member in members if member != own]
        if own is None or (not others and not is_removed):
            return own
        faults = self.find_faults(others)
        voters = len(others) if is_removed else len(members)
        if len(others) - len(faults) < voters // 2 + 1:
            text = "; ".join(f"{other}: {fault}" for other, fault in faults.items())
            reason = text or "too few other members"
            raise OperationError(
                f"etcd would lose its majority without {node.name} ({reason}). "
                "Nothing has been touched. Start or repair the other control planes first, then "
                "run `up` again."
            )
        return own

    def remove_member(self, member: Member, *, is_ready: bool) -> None:
        """Remove a member: through its own node if that is ready and the member has ever started,
        otherwise through another member."""
        if is_ready and member.name:
            self._run(member.address, "etcd", "leave")
            return
        other = next(m for m in self.members() if m.name and m.id != member.id)
        self._run(other.address, "etcd", "remove-member", member.id)

    def _find_fault(self, member: Member) -> str:
        try:
            rows = _rows(self._run(member.address, "etcd", "status"))
            alarms = _rows(self._run(member.address, "etcd", "alarm", "list"))
        except TalosctlError as error:
            return str(error)
        faults = [row["ERRORS"] for row in rows if row.get("ERRORS")]
        faults += [f"alarm {row.get('ALARM')}" for row in alarms]
        return ", ".join(faults)

    def _run(self, address: str, *command: str) -> str:
        return self._talos.run(address, *command, limit=COMMAND_TIMEOUT_S)


def _rows(table: str) -> list[dict[str, str]]:
    """The rows of a table that talosctl prints; each row maps headings to cells.

    A column begins below the first letter of its heading. Headings are three or more spaces apart,
    and a cell may be empty (siderolabs/talos v1.13.9 cmd/talosctl/cmd/talos/etcd.go).
    """
    lines = [line for line in table.splitlines() if line.strip()]
    headings = list(re.finditer(r"\S+(?: {1,2}\S+)*", lines[0])) if lines else []
    starts = [heading.start() for heading in headings]
    ends = [*starts[1:], None]
    return [
        {
            heading[0]: line[start:end].strip()
            for heading, start, end in zip(headings, starts, ends, strict=True)
        }
        for line in lines[1:]
    ]


def _member(row: dict[str, str]) -> Member:
    address = re.search(r"//\[?([0-9a-fA-F.:]+?)\]?:\d+", row["PEER URLS"])
    return Member(row["ID"], row["HOSTNAME"], address[1] if address else "")
