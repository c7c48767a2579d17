"""``LonghornStorage``: its waits, the effects of changed settings, and its messages."""

from __future__ import annotations

from typing import Any

import pytest

from clients.errors import OperationError
from clients.kubernetes.api import KubernetesError
from lifecycle.longhorn_storage import LonghornStorageProvider
from rehearsal.record import Recording
from settings import resource_types
from tests.lifecycle.fake_longhorn import ENGINE, OLD_ENGINE, FakeLonghorn
from tests.recorder import one, sent
from tests.rehearsals import rehearsed_stack

TRAEFIK = "traefik/traefik-certificates"
OTHER = "media/library"
PROVIDER = LonghornStorageProvider()


def inputs(**changes: Any) -> dict[str, Any]:
    return {
        "data_disks": {"worker-1": 43, "worker-2": 43},
        "other_nodes": ["control-plane-1"],
        "replicas": 2,
        "claims": [TRAEFIK],
        "chart_version": "1.12.1",
        "rebuild_s": 3600,
        "kubeconfig": "k",
    } | changes


def from_engine(value: Any) -> Any:
    """A value as Pulumi returns it: every number is a float."""
    if isinstance(value, dict):
        return {key: from_engine(it) for key, it in value.items()}
    return float(value) if isinstance(value, int) else value


def update(**changes: Any) -> dict[str, Any]:
    old = from_engine(inputs())
    return dict(PROVIDER.update("longhorn", old, from_engine(inputs(**changes))).outs or {})


def create() -> None:
    PROVIDER.create(from_engine(inputs()))


@pytest.fixture
def longhorn(monkeypatch: pytest.MonkeyPatch) -> FakeLonghorn:
    """A fake Longhorn with two correct disks, Traefik's volume and another volume."""
    fake = FakeLonghorn().install(monkeypatch)
    for node in ("worker-1", "worker-2"):
        fake.add_disk(node, 42.9)
    fake.add_volume(TRAEFIK, 2, "worker-1", "worker-2")
    fake.add_volume(OTHER, 2, "worker-1", "worker-2")
    return fake


@pytest.fixture(scope="module")
def homelab() -> Recording:
    return rehearsed_stack("homelab").recording


# In the program -----------------------------------------------------------------------------------


def test_storage_is_checked_after_the_release_and_before_any_claim(homelab: Recording) -> None:
    (storage,) = homelab.of_type(resource_types.STORAGE)
    assert one(homelab, "longhorn-release").urn in homelab.before(storage)
    for claim in homelab.of_type(resource_types.CLAIM):
        assert storage.urn in homelab.before(claim)


def test_all_nodes_and_claims_of_the_stack_are_inputs(homelab: Recording) -> None:
    found = sent(one(homelab, "longhorn-storage"))
    assert found["data_disks"] == {f"castle-worker-{number}": 43 for number in (1, 2, 3)}
    assert found["other_nodes"] == ["castle-control-plane-1"]
    assert found["replicas"] == 2
    claims = [sent(claim)["metadata"] for claim in homelab.of_type(resource_types.CLAIM)]
    assert found["claims"] == [f"{it['namespace']}/{it['name']}" for it in claims]


def test_the_kubeconfig_is_a_secret(homelab: Recording) -> None:
    assert one(homelab, "longhorn-storage").is_secret("kubeconfig")


# Disks --------------------------------------------------------------------------------------------


def test_correct_disks_need_no_wait(longhorn: FakeLonghorn) -> None:
    create()
    assert longhorn.now == 0


def test_a_disk_that_longhorn_does_not_list_yet_is_awaited(longhorn: FakeLonghorn) -> None:
    node = longhorn.objects.pop(
        "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/nodes/worker-2"
    )
    path = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/nodes/worker-2"
    longhorn.on_wait = [lambda: None] * 100 + [lambda: longhorn.objects.update({path: node})]
    create()
    assert longhorn.now > 200


def test_a_disk_that_is_never_ready_is_an_error_after_the_timeout(longhorn: FakeLonghorn) -> None:
    longhorn.add_disk("worker-2", is_ready=False)
    with pytest.raises(OperationError) as raised:
        create()
    assert longhorn.now == 600
    output = str(raised.value)
    assert output.startswith(
        "Longhorn's disks are not ready after 600 s:\n"
        "  - worker-2 has a disk that Longhorn cannot use: no disk. Fix: check `kubectl -n "
        "longhorn-system describe nodes.longhorn.io worker-2`. If Longhorn used this path before"
    )
    assert output.endswith(
        "\nThis stack has stored nothing in Longhorn yet: it creates its first claim after this "
        "check. Then run `up` again: it continues from here."
    )


def test_missing_disks_of_a_restored_cluster_are_only_printed(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.add_disk("worker-2", is_ready=False)
    created = PROVIDER.create(from_engine(inputs()) | {"restored": True})
    assert created.id == "longhorn"
    assert longhorn.now == 60
    output = " ".join(capsys.readouterr().out.split())
    assert "worker-2 has a disk that Longhorn cannot use" in output
    assert "The cluster is restored: see docs/day-two.md" in output


def test_data_on_the_os_disk_is_an_error_before_the_timeout(longhorn: FakeLonghorn) -> None:
    longhorn.add_disk("worker-1", 32)
    longhorn.add_disk("worker-2", path="/var/lib/longhorn")
    longhorn.add_disk("control-plane-1", 32)
    with pytest.raises(OperationError) as raised:
        create()
    assert 45 <= longhorn.now < 60
    message = str(raised.value)
    assert message.startswith(
        "Longhorn does not store its data on the right disks:\n  - worker-1 stores"
    )
    assert "filesystem of 32.0 GiB, but its data disk has 43 GiB" in message
    assert "worker-2 stores Longhorn's data at /var/lib/longhorn" in message
    assert "control-plane-1 has no data disk, but Longhorn stores data at" in message
    assert message.count("Fix: ") == 3
    assert "This stack has stored nothing in Longhorn yet" in message


def test_a_wrong_size_while_talos_mounts_the_disk_is_no_error(longhorn: FakeLonghorn) -> None:
    longhorn.add_disk("worker-1", 32)
    longhorn.on_wait = [lambda: None] * 5 + [lambda: longhorn.add_disk("worker-1", 42.9)]
    create()


def test_a_request_is_repeated_if_the_api_does_not_answer(longhorn: FakeLonghorn) -> None:
    longhorn.error = KubernetesError("GET /", "https://vip:6443", "unavailable", 503)
    longhorn.on_wait = [lambda: setattr(longhorn, "error", None)]
    create()


def test_a_new_node_is_awaited(longhorn: FakeLonghorn) -> None:
    disks = {"worker-1": 43, "worker-2": 43, "worker-3": 43}
    longhorn.on_wait = [lambda: longhorn.add_disk("worker-3")]
    assert update(data_disks=disks)["data_disks"] == disks
    assert longhorn.now > 0


def test_a_node_that_is_down_does_not_block_a_new_node(longhorn: FakeLonghorn) -> None:
    longhorn.add_disk("worker-2", is_ready=False)
    longhorn.add_disk("worker-3")
    update(data_disks={"worker-1": 43, "worker-2": 43, "worker-3": 43})
    assert longhorn.now == 0


def test_a_larger_disk_is_awaited(longhorn: FakeLonghorn) -> None:
    longhorn.on_wait = [lambda: None] * 100 + [lambda: longhorn.add_disk("worker-2", 59.9)]
    update(data_disks={"worker-1": 43, "worker-2": 60})
    assert longhorn.now > 200


def test_a_disk_that_does_not_grow_is_not_reported_as_an_os_disk(longhorn: FakeLonghorn) -> None:
    with pytest.raises(OperationError) as raised:
        update(data_disks={"worker-1": 43, "worker-2": 60})
    assert "worker-2 still reports its old data disk of 43 GiB" in str(raised.value)
    assert "OS disk" not in str(raised.value)


def test_the_disk_of_a_node_to_be_removed_is_not_checked(longhorn: FakeLonghorn) -> None:
    update(data_disks={"worker-1": 43})
    assert longhorn.now == 0


def test_the_error_for_a_new_node_mentions_copies_that_may_be_stored(
    longhorn: FakeLonghorn,
) -> None:
    longhorn.add_disk("worker-3", 32)
    with pytest.raises(OperationError, match="may have stored copies on these disks already"):
        update(data_disks={"worker-1": 43, "worker-2": 43, "worker-3": 43})


# Copies -------------------------------------------------------------------------------------------


def test_more_replicas_change_the_volumes_of_the_stack_only(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.on_wait = [lambda: None, lambda: longhorn.add_replica(TRAEFIK, "worker-3")]
    assert update(replicas=3)["replicas"] == 3
    assert longhorn.now == 4
    assert (longhorn.copies_of(TRAEFIK), longhorn.copies_of(OTHER)) == (3, 2)
    assert capsys.readouterr().out == (
        "Volumes of storage class longhorn with another number of copies than 3: "
        "media/library (2). `make replicas` sets them to 3.\n"
    )


def test_missing_copies_are_an_error_after_the_timeout(longhorn: FakeLonghorn) -> None:
    with pytest.raises(OperationError) as raised:
        update(replicas=3, rebuild_s=60)
    assert longhorn.now == 60
    assert (
        "do not have 3 healthy copies each after 60 s (timeouts.rebuild_s): 0 of 1 volumes have "
        "them; "
        "traefik/traefik-certificates has 2 (worker-1, worker-2)" in str(raised.value)
    )


def test_a_repeated_run_changes_no_volume_twice(longhorn: FakeLonghorn) -> None:
    longhorn.on_wait = [lambda: longhorn.add_replica(TRAEFIK, "worker-3")]
    update(replicas=3)
    update(replicas=3)
    assert len(longhorn.merged) == 1


def test_fewer_replicas_wait_until_surplus_copies_are_deleted(longhorn: FakeLonghorn) -> None:
    longhorn.on_wait = [lambda: longhorn.remove_replica(TRAEFIK, "worker-2")]
    update(replicas=1)
    assert longhorn.copies_of(TRAEFIK) == 1
    assert longhorn.now == 2


def test_surplus_copies_that_stay_are_only_printed(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    update(replicas=1)
    output = capsys.readouterr().out
    assert "traefik/traefik-certificates has 2 (worker-1, worker-2)" in output
    assert "replica-auto-balance" in output


def test_a_detached_volume_is_changed_without_a_wait(longhorn: FakeLonghorn) -> None:
    longhorn.add_volume(TRAEFIK, 2, "worker-1", state="detached")
    update(replicas=3)
    assert (longhorn.copies_of(TRAEFIK), longhorn.now) == (3, 0)


def test_a_released_volume_of_the_same_claim_is_not_changed(longhorn: FakeLonghorn) -> None:
    longhorn.add_volume(TRAEFIK, 2, "worker-1", pv_status="Released")
    update(replicas=3)
    assert longhorn.copies_of(TRAEFIK) == 2


def test_the_error_quotes_longhorns_refusal(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, change: Any) -> None:
        raise KubernetesError(
            f"PATCH {path}", "https://vip:6443", "Forbidden: denied by webhook", 403
        )

    monkeypatch.setattr(longhorn, "merge", refuse)
    with pytest.raises(
        OperationError, match="refuses to set traefik/traefik-certificates to 3 copies: .*denied"
    ):
        update(replicas=3)


# Engines ------------------------------------------------------------------------------------------


def test_an_upgrade_waits_until_longhorn_has_upgraded_all_engines(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.add_volume(OTHER, 2, "worker-1", engine=OLD_ENGINE)
    longhorn.set_version("v1.12.1")
    longhorn.on_wait = [
        lambda: longhorn.set_version("v1.12.2"),
        lambda: longhorn.add_volume(OTHER, 2, "worker-1"),
    ]
    assert update(chart_version="1.12.2")["chart_version"] == "1.12.2"
    assert (longhorn.now, capsys.readouterr().out) == (4, "")


def test_an_old_engine_after_the_timeout_is_only_printed(
    longhorn: FakeLonghorn, capsys: pytest.CaptureFixture[str]
) -> None:
    longhorn.add_volume(OTHER, 2, "worker-1", engine=OLD_ENGINE)
    update(chart_version="1.12.2")
    assert longhorn.now == 300
    output = capsys.readouterr().out
    assert f"media/library ({OLD_ENGINE})" in output
    assert TRAEFIK not in output
    assert "`up` refuses Longhorn's next minor version" in output


# Previews -----------------------------------------------------------------------------------------


def diff(capsys: pytest.CaptureFixture[str], **changes: Any) -> tuple[bool, str]:
    found = PROVIDER.diff("longhorn", from_engine(inputs()), inputs(**changes))
    assert not found.replaces
    return bool(found.changes), capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"kubeconfig": "renewed"}, False),
        ({"rebuild_s": 60}, False),
        ({"other_nodes": ["control-plane-1", "control-plane-2"]}, False),
        ({"data_disks": {"worker-1": 43, "worker-2": 50}}, True),
        ({"data_disks": {"worker-1": 43}}, True),
        ({"claims": [TRAEFIK, "whoami/data"]}, True),
        ({"chart_version": "1.12.2"}, True),
        ({"replicas": 3}, True),
    ],
    ids=str,
)
def test_a_preview_knows_the_changes_without_requests(
    changes: dict[str, Any], expected: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff(capsys, **changes)[0] is expected


def test_a_preview_describes_the_effect_of_more_copies(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(capsys, replicas=3)[1] == (
        "longhorn.replicas: 2 → 3. This `up` gives traefik/traefik-certificates 3 copies instead "
        "of 2. New volumes get 3. All other volumes keep their number until `make replicas`.\n"
    )


def test_a_preview_describes_the_deletion_of_surplus_copies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = diff(capsys, replicas=1)[1]
    assert "gives traefik/traefik-certificates 1 copy instead of 2" in output
    assert "Longhorn deletes the surplus copies" in output


def test_a_preview_prints_nothing_for_other_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(capsys, data_disks={"worker-1": 43})[1] == ""


def test_volumes_with_the_engine_of_this_longhorn_need_no_wait(longhorn: FakeLonghorn) -> None:
    longhorn.add_volume(OTHER, 2, "worker-1", engine=ENGINE)
    longhorn.set_version("v1.12.2")
    update(chart_version="1.12.2")
    assert longhorn.now == 0
