"""The rules of the design that look at more than one setting, each with its own message.

A rule is a function that yields problems. Its parameters are the groups of settings that it looks
at, by name; it runs when all of them could be read, so that one group's mistake does not hide
another's. The parameter ``running`` is what the stack runs (``settings/running.py``). ``advice``
holds what is not wrong, but should be said.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from settings import certificates, compatibility, gitops, patches
from settings.problems import Problem
from settings.rules.addresses import (
    addresses_in_network,
    dhcp_in_order,
    ingress_in_pool,
    nothing_in_dhcp,
    nothing_in_pool,
    one_owner_each,
    pool_in_order,
    pool_large_enough,
    pool_outside_dhcp,
    ranges_in_network,
    run_within_last_octet,
    workers_have_a_first_address,
)
from settings.rules.advice import advice
from settings.rules.backups import (
    backups_leave_the_castle,
    buckets_have_an_account,
    snapshot_can_be_opened,
)
from settings.rules.machines import (
    data_disk_told_apart,
    kept_disks_are_there,
    overrides_keep_to_their_role,
    replicas_have_disks,
    vm_ids_free_of_overlap,
)
from settings.rules.rule import Rule
from settings.rules.running import (
    a_running_cluster_is_not_restored,
    longhorn_can_be_upgraded,
    machines_can_leave_their_pool,
    running_machines_can_change,
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


BEFORE_PLAN: tuple[Rule, ...] = (workers_have_a_first_address, run_within_last_octet)
"""Rules without which the machines cannot be laid out."""


RULES: tuple[Rule, ...] = (
    dhcp_in_order,
    pool_in_order,
    pool_large_enough,
    addresses_in_network,
    ranges_in_network,
    nothing_in_dhcp,
    pool_outside_dhcp,
    one_owner_each,
    nothing_in_pool,
    ingress_in_pool,
    vm_ids_free_of_overlap,
    overrides_keep_to_their_role,
    replicas_have_disks,
    backups_leave_the_castle,
    buckets_have_an_account,
    snapshot_can_be_opened,
    data_disk_told_apart,
    kept_disks_are_there,
    acme_production_needs_a_public_host,
    certificates.what_is_kept_is_encrypted,
    certificates.the_dns_provider_lets_traefik_in,
    host_network_needs_one_control_plane,
    compatibility.talos_and_kubernetes,
    chart_repositories,
    compatibility.charts,
    compatibility.flux_chart,
    compatibility.packages,
    gitops.secret_fits_its_url,
    gitops.git_host_is_known,
    patches.patches_are_known,
    patches.patches_leave_the_castle_alone,
    user_volumes_leave_the_data_disk,
    versions_can_be_reached,
    longhorn_can_be_upgraded,
    running_machines_can_change,
    machines_can_leave_their_pool,
    a_running_cluster_is_not_restored,
)
"""Rules that run once the machines can be laid out."""


def broken(groups: Mapping[str, Any], rules: Iterable[Rule] = RULES) -> Iterator[Problem]:
    """What the groups that could be read break of the rules.

    ``groups`` maps the name of a group (``network``) to its model; a group that could not be read
    is absent, and so are the rules that need it.
    """
    if "nodes" in groups:
        unplaced = [problem for rule in BEFORE_PLAN for problem in rule(groups["nodes"])]
        yield from unplaced
        if unplaced:
            groups = {name: group for name, group in groups.items() if name != "nodes"}
    for rule in rules:
        needs = inspect.signature(rule).parameters
        if all(need in groups for need in needs):
            yield from rule(**{need: groups[need] for need in needs})
