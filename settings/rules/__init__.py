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
from settings.rules import addresses, machines, patches, running, services
from settings.rules.advice import advice
from settings.rules.services import not_public

__all__ = ["RULES", "advice", "broken", "not_public"]

Rule = Callable[..., Iterator[Problem]]
"""A rule; see the description of this module."""

BEFORE_PLAN: tuple[Rule, ...] = (
    addresses.workers_have_a_first_address,
    addresses.addresses_within_last_octet,
)
"""Rules that must hold before the nodes can be planned."""


RULES: tuple[Rule, ...] = (
    addresses.dhcp_in_order,
    addresses.pool_in_order,
    addresses.pool_large_enough,
    addresses.addresses_in_network,
    addresses.ranges_in_network,
    addresses.addresses_outside_dhcp,
    addresses.pool_outside_dhcp,
    addresses.addresses_unique,
    addresses.addresses_outside_pool,
    addresses.ingress_in_pool,
    machines.vm_ids_unique,
    machines.overrides_meet_minimum_of_role,
    machines.replicas_have_disks,
    services.backup_servers_outside_the_cluster,
    services.buckets_have_credentials,
    services.snapshot_can_be_decrypted,
    machines.data_disk_differs_from_os_disk,
    machines.retained_disks_exist,
    services.acme_production_needs_a_public_host,
    services.certificate_backups_have_an_age_key,
    services.dns_provider_has_credentials,
    services.host_network_needs_one_control_plane,
    compatibility.talos_and_kubernetes,
    services.chart_repositories,
    compatibility.charts,
    compatibility.flux_chart,
    compatibility.packages,
    services.credentials_fit_url,
    services.git_host_is_known,
    patches.patches_are_known,
    patches.patches_change_no_managed_values,
    patches.user_volumes_leave_the_data_disk,
    running.versions_can_be_reached,
    running.longhorn_can_be_upgraded,
    running.running_vms_can_change,
    running.pool_of_running_vms_stays,
    running.restore_only_into_new_cluster,
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
