"""etcd, through talosctl: its health, its quorum, and members that leave.

Leaves out its snapshots (``snapshots.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from clients.errors import OperationError
from clients.talos.talosctl import Talosctl, TalosctlError


@dataclass(frozen=True)
class Member:
    """A member of etcd."""

    id: str
    name: str
    """Empty for one that was added and never started."""
    address: str
    """Address of its node."""

    @property
    def who(self) -> str:
        """What a person knows it by."""
        return self.name or self.address

    def is_of(self, name: str, address: str) -> bool:
        """Whether it is the member of a node."""
        return self.name == name if self.name else self.address == address


class Etcd:
    """The etcd of a cluster, asked at any of its control planes."""

    def __init__(self, talos: Talosctl, control_planes: Iterable[str]) -> None:
        self._talos = talos
        self._addresses = list(control_planes)

    def members(self) -> list[Member]:
        """All members, as the first control plane that answers knows them."""
        refusals = []
        for address in self._addresses:
            try:
                return [_member(row) for row in _rows(self._run(address, "etcd", "members"))]
            except TalosctlError as error:
                refusals.append(str(error))
        raise OperationError(f"No control plane tells who is in etcd: {'; '.join(refusals)}.")

    def sick(self, members: Iterable[Member]) -> dict[str, str]:
        """By name: what is wrong with a member, for those that are not well."""
        return {member.who: why for member in members if (why := self._sickness(member))}

    def require_health(self) -> list[Member]:
        """The members; raises ``OperationError`` unless all are well."""
        members = self.members()
        if sick := self.sick(members):
            told = "; ".join(f"{name}: {why}" for name, why in sick.items())
            raise OperationError(
                f"etcd is not healthy ({told}). Nothing has been touched: see to etcd first, with "
                "`talosctl etcd status` and `talosctl service etcd`, then run `up` again."
            )
        return members

    def require_quorum_without(self, name: str, address: str, *, leaves: bool) -> Member | None:
        """The member of a node; raises ``OperationError`` if etcd cannot do without it.

        A member that ``leaves`` takes its vote along; one that only reboots does not. A lone
        member that reboots is let go: there is no other way.
        """
        members = self.members()
        own = next((member for member in members if member.is_of(name, address)), None)
        others = [member for member in members if member != own]
        if own is None or (not others and not leaves):
            return own
        sick = self.sick(others)
        voters = len(others) if leaves else len(members)
        if len(others) - len(sick) < voters // 2 + 1:
            told = "; ".join(f"{other}: {why}" for other, why in sick.items()) or "it is the last"
            raise OperationError(
                f"etcd would lose its majority without {name} ({told}). Nothing has been touched: "
                "bring the other control planes back first, then run `up` again."
            )
        return own

    def leave(self, member: Member, *, is_alive: bool) -> None:
        """Take a member out: by itself if it lives and ever started, by another one if not."""
        if is_alive and member.name:
            self._run(member.address, "etcd", "leave")
            return
        other = next(m for m in self.members() if m.name and m.id != member.id)
        self._run(other.address, "etcd", "remove-member", member.id)

    def _sickness(self, member: Member) -> str:
        try:
            rows = _rows(self._run(member.address, "etcd", "status"))
            alarms = _rows(self._run(member.address, "etcd", "alarm", "list"))
        except TalosctlError as error:
            return str(error)
        told = [row["ERRORS"] for row in rows if row.get("ERRORS")]
        told += [f"alarm {row.get('ALARM')}" for row in alarms]
        return ", ".join(told)

    def _run(self, address: str, *command: str, limit: float = 30) -> str:
        return self._talos.run(address, *command, limit=limit)


def _rows(table: str) -> list[dict[str, str]]:
    """The rows of one of talosctl's tables, by its headings.

    Columns begin where their headings do, three spaces or more apart (siderolabs/talos v1.13.9
    cmd/talosctl/cmd/talos/etcd.go); a cell may be empty.
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
