"""etcd: health, the majority, and who lets a member go."""

from __future__ import annotations

import pytest

from clients.errors import OperationError
from lifecycle.operations.etcd import Etcd, Member
from tests.lifecycle.operations.fake_cluster import Members, etcd

THREE = ("cp-1", "cp-2", "cp-3")


def test_members_are_read_from_talosctls_table() -> None:
    first, *_ = etcd(*THREE).members()
    assert first == Member("0000000000000001", "cp-1", "10.0.0.1")


def test_members_are_asked_at_the_next_where_the_first_is_away() -> None:
    assert len(etcd(*THREE, sick=("cp-1",)).members()) == 3


def test_one_sick_member_is_enough_to_refuse_an_upgrade() -> None:
    assert len(etcd(*THREE).require_health()) == 3
    with pytest.raises(OperationError, match=r"not healthy \(cp-2: etcdserver: no leader\)"):
        etcd(*THREE, sick=("cp-2",)).require_health()


@pytest.mark.parametrize(
    ("members", "sick", "leaves", "allowed"),
    [
        (THREE, (), False, True),
        (THREE, ("cp-1",), False, False),  # one of three would be left for a while
        (THREE, (), True, True),
        (THREE, ("cp-1",), True, False),  # one of two would be left
        (THREE, ("cp-3",), True, True),  # the dead one goes
        (("cp-1", "cp-3"), (), True, True),
        (("cp-1", "cp-3"), (), False, False),
        (("cp-3",), (), False, True),  # a lone one reboots: there is no other way
        (("cp-3",), (), True, False),  # but never leaves
    ],
)
def test_no_member_goes_that_etcd_needs(
    members: tuple[str, ...], sick: tuple[str, ...], leaves: bool, allowed: bool
) -> None:
    found = etcd(*members, sick=sick)
    if allowed:
        member = found.require_quorum_without("cp-3", "10.0.0.3", leaves=leaves)
        assert member is not None and member.name == "cp-3"
    else:
        with pytest.raises(OperationError, match="would lose its majority without cp-3"):
            found.require_quorum_without("cp-3", "10.0.0.3", leaves=leaves)


def test_a_member_that_never_started_is_known_by_its_address() -> None:
    """As after a control plane that was deleted while it joined: it has no name yet."""
    found = etcd(*THREE, sick=("cp-3",), unstarted=("cp-3",))
    assert found.members()[2] == Member("0000000000000003", "", "10.0.0.3")
    with pytest.raises(OperationError, match=r"not healthy \(10\.0\.0\.3: etcdserver: no leader\)"):
        found.require_health()
    member = found.require_quorum_without("cp-3", "10.0.0.3", leaves=True)
    assert member == found.members()[2]


def test_a_member_that_never_started_does_not_leave_by_itself() -> None:
    talos = Members(*THREE, unstarted=("cp-1", "cp-3"))
    found = Etcd(talos, talos.addresses.values())
    found.leave(found.members()[2], is_alive=True)
    assert talos.asked[-1] == ("10.0.0.2", "etcd", "remove-member", "0000000000000003")


@pytest.mark.parametrize(
    ("is_alive", "asked"),
    [
        (True, ("10.0.0.3", "etcd", "leave")),
        (False, ("10.0.0.1", "etcd", "remove-member", "0000000000000003")),
    ],
)
def test_a_dead_member_is_removed_by_another(is_alive: bool, asked: tuple[str, ...]) -> None:
    talos = Members(*THREE)
    found = Etcd(talos, talos.addresses.values())
    found.leave(found.members()[2], is_alive=is_alive)
    assert talos.asked[-1] == asked
