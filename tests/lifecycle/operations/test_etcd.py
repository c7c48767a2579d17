"""etcd: health checks, majority, and the removal of members."""

from __future__ import annotations

import pytest

from clients.errors import OperationError
from clients.talos import protobuf
from lifecycle.operations.context import Peer
from lifecycle.operations.etcd import Etcd, Member
from tests.lifecycle.operations.fake_cluster import FakeMachineApi, etcd

THREE = ("cp-1", "cp-2", "cp-3")


def test_members_have_id_name_and_address() -> None:
    first, *_ = etcd(*THREE).members()
    assert first == Member(1, "cp-1", "10.0.0.1")


def test_members_are_read_from_another_control_plane_if_the_first_does_not_answer() -> None:
    assert len(etcd(*THREE, unhealthy=("cp-1",)).members()) == 3


def test_one_unhealthy_member_is_an_error() -> None:
    assert len(etcd(*THREE).require_health()) == 3
    with pytest.raises(OperationError, match=r"not healthy \(cp-2: etcdserver: no leader\)"):
        etcd(*THREE, unhealthy=("cp-2",)).require_health()


def test_an_alarm_and_an_error_of_a_member_are_faults() -> None:
    api = FakeMachineApi(*THREE)
    found = Etcd(api, api.addresses.values())
    alarm = protobuf.number_field(1, 7) + protobuf.number_field(2, 1)
    api.alarms["10.0.0.2"] = protobuf.field(1, protobuf.field(2, alarm))
    api.errors["10.0.0.3"] = "etcdserver: corrupt"
    assert found.find_faults(found.members()) == {
        "cp-2": "alarm NOSPACE",
        "cp-3": "etcdserver: corrupt",
    }


@pytest.mark.parametrize(
    ("members", "unhealthy", "is_removed", "allowed"),
    [
        (THREE, (), False, True),
        (THREE, ("cp-1",), False, False),  # one of three members would run during the reboot
        (THREE, (), True, True),
        (THREE, ("cp-1",), True, False),  # one of two members would be healthy
        (THREE, ("cp-3",), True, True),  # cp-3 itself is unhealthy
        (("cp-1", "cp-3"), (), True, True),
        (("cp-1", "cp-3"), (), False, False),
        (("cp-3",), (), False, True),  # the only member may reboot
        (("cp-3",), (), True, False),  # the only member cannot be removed
    ],
)
def test_etcd_keeps_its_majority(
    members: tuple[str, ...], unhealthy: tuple[str, ...], is_removed: bool, allowed: bool
) -> None:
    found = etcd(*members, unhealthy=unhealthy)
    if allowed:
        member = found.require_quorum_without(Peer("cp-3", "10.0.0.3"), is_removed=is_removed)
        assert member is not None and member.name == "cp-3"
    else:
        with pytest.raises(OperationError, match="would lose its majority without cp-3"):
            found.require_quorum_without(Peer("cp-3", "10.0.0.3"), is_removed=is_removed)


def test_a_member_that_never_started_is_identified_by_its_address() -> None:
    """A control plane that was deleted while it joined has no name in etcd."""
    found = etcd(*THREE, unhealthy=("cp-3",), unstarted=("cp-3",))
    assert found.members()[2] == Member(3, "", "10.0.0.3")
    with pytest.raises(
        OperationError,
        match=r"not healthy \(10\.0\.0\.3: etcdserver: no leader\)",
    ):
        found.require_health()
    member = found.require_quorum_without(Peer("cp-3", "10.0.0.3"), is_removed=True)
    assert member == found.members()[2]


def test_a_member_that_never_started_is_removed_through_another_member() -> None:
    api = FakeMachineApi(*THREE, unstarted=("cp-1", "cp-3"))
    found = Etcd(api, api.addresses.values())
    found.remove_member(found.members()[2], is_ready=True)
    assert api.calls[-1] == ("10.0.0.2", "EtcdRemoveMemberByID", b"\x08\x03")


@pytest.mark.parametrize(
    ("is_ready", "call"),
    [
        (True, ("10.0.0.3", "EtcdLeaveCluster", b"")),
        (False, ("10.0.0.1", "EtcdRemoveMemberByID", b"\x08\x03")),
    ],
)
def test_a_member_of_a_node_that_is_not_ready_is_removed_through_another_member(
    is_ready: bool, call: tuple[str, str, bytes]
) -> None:
    api = FakeMachineApi(*THREE)
    found = Etcd(api, api.addresses.values())
    found.remove_member(found.members()[2], is_ready=is_ready)
    assert api.calls[-1] == call
