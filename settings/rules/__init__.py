"""Rules that compare several settings.

A rule is a function that yields problems. Its parameters are the settings groups that it needs, by
name. A rule runs if all its groups are valid, so a mistake in one group does not hide problems of
the others. The parameter ``running`` is the running stack (``settings/running.py``). ``advice``
yields warnings.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from settings import certificates, compatibility, gitops, patches
from settings.problems import Problem
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
from settings.rules.backups import (
    backup_servers_outside_the_cluster,
    buckets_have_credentials,
    snapshot_can_be_decrypted,
)
from settings.rules.machines import (
    data_disk_differs_from_os_disk,
    overrides_meet_minimum_of_role,
    replicas_have_disks,
    retained_disks_exist,
    vm_ids_unique,
)
from settings.rules.rule import Rule
from settings.rules.running import (
    longhorn_can_be_upgraded,
    pool_of_running_vms_stays,
    restore_only_into_new_cluster,
    running_vms_can_change,
    versions_can_be_reached,
)
from settings.rules.services import (
    acme_production_needs_a_public_host,
    chart_repositories,
    host_network_needs_one_control_plane,
    not_public,
)
from settings.rules.volumes import user_volumes_leave_the_data_disk

__all__ = ["RULES", "advice", "broken", "not_public"]


BEFORE_PLAN: tuple[Rule, ...] = (workers_have_a_first_address, addresses_within_last_octet)
"""Rules that must hold before the VM layout can be computed."""


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
    certificates.certificate_backups_have_an_age_key,
    certificates.dns_provider_has_credentials,
    host_network_needs_one_control_plane,
    compatibility.talos_and_kubernetes,
    chart_repositories,
    compatibility.charts,
    compatibility.flux_chart,
    compatibility.packages,
    gitops.credentials_fit_url,
    gitops.git_host_is_known,
    patches.patches_are_known,
    patches.patches_change_no_managed_values,
    user_volumes_leave_the_data_disk,
    versions_can_be_reached,
    longhorn_can_be_upgraded,
    running_vms_can_change,
    pool_of_running_vms_stays,
    restore_only_into_new_cluster,
)
"""Rules that run after ``BEFORE_PLAN``; many need the VM layout."""


def broken(groups: Mapping[str, Any], rules: Iterable[Rule] = RULES) -> Iterator[Problem]:
    """Run the rules on the valid groups, and yield their problems.

    ``groups`` maps the name of a group (``network``) to its model. Invalid groups are absent, and
    rules that need an absent group are skipped.
    """
    if "nodes" in groups:
        layout_problems = [problem for rule in BEFORE_PLAN for problem in rule(groups["nodes"])]
        yield from layout_problems
        if layout_problems:
            groups = {name: group for name, group in groups.items() if name != "nodes"}
    for rule in rules:
        names = inspect.signature(rule).parameters
        if all(name in groups for name in names):
            yield from rule(**{name: groups[name] for name in names})
