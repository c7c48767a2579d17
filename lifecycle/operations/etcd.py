"""Checks etcd and removes members, through the Talos API. Snapshots are in ``snapshots.py``."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

from clients.errors import OperationError
from clients.talos import protobuf
from clients.talos.errors import TalosError
from clients.talos.machine_api import MachineApi
from lifecycle.operations.context import Peer

# Numbers of fields and alarms (siderolabs/talos v1.13.9 api/machine/machine.proto). In each answer,
# field 1 has one message per node that was asked, and only one node is asked.
_QUERY_LOCAL = protobuf.number_field(1, 1)
"""An ``EtcdMemberListRequest`` for the list of the node itself, as talosctl sends it."""
_MEMBERS = 3
_MEMBER_ID, _HOSTNAME, _PEER_URLS = 2, 3, 4
_ERRORS = 8
_ALARMS, _ALARM = 2, 2
_ALARM_NAMES = {1: "NOSPACE", 2: "CORRUPT"}


@dataclass(frozen=True)
class Member:
    """A member of etcd."""

    id: int
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

    def __init__(self, api: MachineApi, control_planes: Iterable[str]) -> None:
        self._api = api
        self._addresses = list(control_planes)

    def members(self) -> list[Member]:
        """All members, from the first control plane that answers. Raises ``OperationError``."""
        refusals = []
        for address in self._addresses:
            try:
                answer = self._api.read(address, "EtcdMemberList", _QUERY_LOCAL)
                members = protobuf.find_all(protobuf.find(answer, 1), _MEMBERS)
                return [_member(member) for member in members]
            except TalosError as error:
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
            self._api.call(member.address, "EtcdLeaveCluster")
            return
        other = next(m for m in self.members() if m.name and m.id != member.id)
        request = protobuf.number_field(1, member.id)
        self._api.call(other.address, "EtcdRemoveMemberByID", request)

    def _find_fault(self, member: Member) -> str:
        try:
            status = self._api.read(member.address, "EtcdStatus")
            alarms = self._api.read(member.address, "EtcdAlarmList")
        except TalosError as error:
            return error.detail
        faults = [it.decode() for it in protobuf.find_all(protobuf.find(status, 1, 2), _ERRORS)]
        for alarm in protobuf.find_all(protobuf.find(alarms, 1), _ALARMS):
            number = protobuf.find_number(alarm, _ALARM)
            faults.append(f"alarm {_ALARM_NAMES.get(number, number)}")
        return ", ".join(faults)


def _member(found: bytes) -> Member:
    urls = [url.decode() for url in protobuf.find_all(found, _PEER_URLS)]
    address = urllib.parse.urlsplit(urls[0]).hostname if urls else None
    return Member(
        protobuf.find_number(found, _MEMBER_ID),
        protobuf.find(found, _HOSTNAME).decode(),
        address or "",
    )
