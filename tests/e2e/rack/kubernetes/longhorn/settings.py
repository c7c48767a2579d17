"""Longhorn's settings, as its chart's ConfigMap gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

LEAST_EFFORT = "least-effort"
BEST_EFFORT = "best-effort"
DO_NOTHING = "do-nothing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that the stand-in follows, with the defaults of v1.12.1 types/setting.go."""

    default_data_path: str = "/var/lib/longhorn/"
    create_default_disk_labeled_nodes: bool = False
    storage_reserved_percentage_for_default_disk: int = 30
    storage_minimal_available_percentage: int = 25
    storage_over_provisioning_percentage: int = 100
    allow_recurring_job_while_volume_detached: bool = False
    node_down_pod_deletion_policy: str = DO_NOTHING
    concurrent_automatic_engine_upgrade_per_node_limit: int = 0
    replica_zone_soft_anti_affinity: bool = True
    replica_auto_balance: str = "disabled"
    disable_scheduling_on_cordoned_node: bool = True

    @classmethod
    def from_config_map(cls, config_map: Mapping[str, Any] | None) -> Settings:
        """Read the ConfigMap `longhorn-default-setting`; unknown settings are left out."""
        text = (config_map or {}).get("data", {}).get("default-setting.yaml") or ""
        given = yaml.safe_load(text) or {}
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = given.get(field.name.replace("_", "-"))
            if value is not None and str(value) != "":
                values[field.name] = _parse(value, type(field.default))
        return cls(**values)

    @property
    def balances_replicas(self) -> bool:
        """Whether replicas are moved so that each zone has one."""
        return self.replica_auto_balance in {LEAST_EFFORT, BEST_EFFORT}


def _parse(value: Any, kind: type) -> Any:
    """A value that may be written as text."""
    return str(value).lower() == "true" if kind is bool else kind(str(value))
