"""etcd: health, the majority, and who lets a member go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.upkeep.house import Members, etcd
from upkeep.errors import UpkeepError
from upkeep.etcd import KEPT, Etcd, Member

THREE = ("cp-1", "cp-2", "cp-3")


def test_members_are_read_from_talosctls_table() -> None:
    first, *_ = etcd(*THREE).members()
    assert first == Member("0000000000000001", "cp-1", "10.0.0.1")


def test_members_are_asked_at_the_next_where_the_first_is_away() -> None:
    assert len(etcd(*THREE, sick=("cp-1",)).members()) == 3


def test_one_sick_member_is_enough_to_refuse_an_upgrade() -> None:
    assert len(etcd(*THREE).require_health()) == 3
    with pytest.raises(UpkeepError, match=r"not healthy \(cp-2: etcdserver: no leader\)"):
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
        member = found.require_quorum_without("cp-3", leaves=leaves)
        assert member is not None and member.name == "cp-3"
    else:
        with pytest.raises(UpkeepError, match="would lose its majority without cp-3"):
            found.require_quorum_without("cp-3", leaves=leaves)


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


class Saves(Members):
    """A talosctl that saves snapshots."""

    def run(self, address: str, *command: str, files: Sequence[str] = (), limit: float = 0) -> str:
        if command[1] == "snapshot":
            Path(command[2]).touch()
        return super().run(address, *command, limit=limit)


def test_only_the_newest_snapshots_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upkeep.etcd.SNAPSHOTS", tmp_path)
    talos = Saves("cp-1")
    found = Etcd(talos, ["10.0.0.1"])
    for day in range(10, 19):
        (tmp_path / f"castle-202611{day}T100000Z.db").touch()
    (tmp_path / "castle-two-20200101T100000Z.db").touch()
    newest = found.snapshot("castle")
    left = sorted(path.name for path in tmp_path.glob("castle-2*.db"))
    assert len(left) == KEPT and newest.name in left
    assert (tmp_path / "castle-two-20200101T100000Z.db").exists()
    found.snapshot_if_stale("castle")
    assert sorted(path.name for path in tmp_path.glob("castle-2*.db")) == left
