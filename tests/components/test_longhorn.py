"""The values of Longhorn's chart."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from tests.components.charts import longhorn_values


def test_longhorn_has_the_configured_number_of_copies_and_can_be_uninstalled() -> None:
    values = longhorn_values()
    assert values["persistence"]["defaultClassReplicaCount"] == 2
    assert json.loads(values["defaultSettings"]["defaultReplicaCount"]) == {"v1": "2", "v2": "2"}
    assert values["defaultSettings"]["deletingConfirmationFlag"] is True
    assert values["defaultSettings"]["createDefaultDiskLabeledNodes"] is True


def test_longhorn_leaves_ten_percent_of_its_disk_free() -> None:
    settings = longhorn_values()["defaultSettings"]
    assert settings["storageReservedPercentageForDefaultDisk"] == 0
    assert settings["storageMinimalAvailablePercentage"] == 10


def test_longhorn_handles_failed_nodes_balances_copies_and_upgrades_engines() -> None:
    settings = longhorn_values()["defaultSettings"]
    assert settings["nodeDownPodDeletionPolicy"] == "delete-both-statefulset-and-deployment-pod"
    assert settings["replicaAutoBalance"] == "least-effort"
    assert settings["allowRecurringJobWhileVolumeDetached"] is True
    assert settings["concurrentAutomaticEngineUpgradePerNodeLimit"] == 1


@pytest.mark.parametrize(("setting", "policy"), [("retain", "Retain"), ("delete", "Delete")])
def test_the_storage_class_has_the_configured_reclaim_policy(
    setting: Literal["retain", "delete"], policy: str
) -> None:
    assert longhorn_values(reclaim_policy=setting)["persistence"]["reclaimPolicy"] == policy


def test_longhorn_always_tolerates_control_planes() -> None:
    values = longhorn_values()
    assert values["longhornManager"]["tolerations"][0]["effect"] == "NoSchedule"
    assert values["longhornDriver"]["tolerations"] == values["longhornManager"]["tolerations"]
    assert values["defaultSettings"]["taintToleration"].endswith("control-plane:NoSchedule")
