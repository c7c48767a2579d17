"""Rules that compare several settings.

A rule is a function that yields problems. Its parameters are the settings groups that it needs, by
name. A rule runs if all its groups are valid, so a mistake in one group does not hide problems of
the others. Two parameters are no groups: ``machines`` holds the planned nodes, ``running`` the
running stack (``settings/running.py``). ``advice`` yields warnings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from settings import compatibility
from settings.plan import plan_nodes
from settings.problems import Problem
from settings.rules import patches
from settings.rules.addresses import (
    addresses_in_network,
    addresses_outside_dhcp,
    addresses_outside_pool,
    addresses_unique,
    addresses_within_last_octet,
    dhcp_in_order,
    ingress_in_pool,
    pool_in_order,
    pool_large_enough,
    pool_outside_dhcp,
    ranges_in_network,
    workers_have_a_first_address,
)
from settings.rules.advice import advice
from settings.rules.machines import (
    data_disk_differs_from_os_disk,
    overrides_meet_minimum_of_role,
    replicas_have_disks,
    retained_disks_exist,
    vm_ids_unique,
)
from settings.rules.running import (
    longhorn_can_be_upgraded,
    pool_of_running_vms_stays,
    restore_only_into_new_cluster,
    running_vms_can_change,
    versions_can_be_reached,
)
from settings.rules.services import (
    acme_production_needs_a_public_host,
    backup_servers_outside_the_cluster,
    buckets_have_credentials,
    certificate_backups_have_an_age_key,
    chart_repositories,
    credentials_fit_url,
    dns_provider_has_credentials,
    git_host_is_known,
    host_network_needs_one_control_plane,
    not_public,
    snapshot_can_be_decrypted,
)

__all__ = ["RULES", "advice", "broken", "not_public"]


Rule = Callable[..., Iterator[Problem]]
"""A rule; see the description of this module."""

BEFORE_PLAN: tuple[Rule, ...] = (workers_have_a_first_address, addresses_within_last_octet)
"""Rules that must hold before the nodes can be planned."""


RULES: tuple[Rule, ...] = (
    dhcp_in_order,
    pool_in_order,
    pool_large_enough,
    addresses_in_network,
    ranges_in_network,
    addresses_outside_dhcp,
    pool_outside_dhcp,
    addresses_unique,
    addresses_outside_pool,
    ingress_in_pool,
    vm_ids_unique,
    overrides_meet_minimum_of_role,
    replicas_have_disks,
    backup_servers_outside_the_cluster,
    buckets_have_credentials,
    snapshot_can_be_decrypted,
    data_disk_differs_from_os_disk,
    retained_disks_exist,
    acme_production_needs_a_public_host,
    certificate_backups_have_an_age_key,
    dns_provider_has_credentials,
    host_network_needs_one_control_plane,
    compatibility.talos_and_kubernetes,
    chart_repositories,
    compatibility.charts,
    compatibility.flux_chart,
    compatibility.packages,
    credentials_fit_url,
    git_host_is_known,
    patches.patches_are_known,
    patches.patches_change_no_managed_values,
    patches.user_volumes_leave_the_data_disk,
    versions_can_be_reached,
    longhorn_can_be_upgraded,
    running_vms_can_change,
    pool_of_running_vms_stays,
    restore_only_into_new_cluster,
)
"""Rules that run after ``BEFORE_PLAN``; many need the planned nodes."""


def broken(groups: Mapping[str, Any], rules: Iterable[Rule] = RULES) -> Iterator[Problem]:
    """Run the rules on the valid groups, and yield their problems.

    ``groups`` maps the name of a group (``network``) to its model. Invalid groups are absent, and
    rules that need an absent group are skipped.
    """
    known = dict(groups)
    if "nodes" in groups:
        obstacles = [problem for rule in BEFORE_PLAN for problem in rule(groups["nodes"])]
        yield from obstacles
        if obstacles:
            del known["nodes"]
    if {"cluster", "nodes", "proxmox"} <= known.keys():
        known["machines"] = plan_nodes(
            known["cluster"], known["nodes"], known["proxmox"], known["running"].hosts
        )
    for rule in rules:
        names = inspect.signature(rule).parameters
        if known.keys() >= names.keys():
            yield from rule(**{name: known[name] for name in names})
