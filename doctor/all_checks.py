"""The list of all checks. They run in parallel threads, with a common time limit."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from doctor.checks import (
    addresses,
    backups,
    certificates,
    charts,
    dns,
    hosts,
    image_factory,
    longhorn,
    privileges,
    proxmox_api,
    proxmox_cluster,
    proxmox_storages,
    this_machine,
    time_servers,
    vm_ids,
)
from doctor.context import Check, Context
from doctor.findings import CannotCheckError, Finding, Result, note, warning

CHECKS_TIMEOUT_S = 60
"""Time limit in seconds for all checks together. Each request has its own, much shorter limit."""

CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("This machine", "settings", this_machine.check_settings),
    ("This machine", "tools", this_machine.check_cli),
    ("Proxmox", "API", proxmox_api.check_api),
    ("Proxmox", "privileges", privileges.check_privileges),
    ("Proxmox", "quorum", proxmox_cluster.check_quorum),
    ("Proxmox", "clocks", proxmox_cluster.check_clocks),
    ("Proxmox", "hosts", hosts.check_hosts),
    ("Proxmox", "bridge", hosts.check_bridge),
    ("Proxmox", "storages", proxmox_storages.check_storages),
    ("Proxmox", "VM ids", vm_ids.check_vm_ids),
    ("Network", "gateway", addresses.check_gateway),
    ("Network", "addresses", addresses.check_addresses),
    ("Network", "time servers", time_servers.check_time_servers),
    ("Stack", "node clocks", time_servers.check_node_clocks),
    ("Stack", "certificates", certificates.check_certificates),
    ("Stack", "backups", backups.check_backup_targets),
    ("Storage", "cluster", longhorn.check_access),
    ("Storage", "data disks", longhorn.check_data_disks),
    ("Storage", "copies", longhorn.check_copies),
    ("Storage", "engines", longhorn.check_engines),
    ("Storage", "backup target", longhorn.check_backup_target),
    ("Storage", "volume backups", longhorn.check_backups),
    ("Downloads", "Image Factory", image_factory.check_factory),
    ("Downloads", "Image Factory from the hosts", image_factory.check_from_hosts),
    ("Downloads", "Longhorn", charts.chart_check("longhorn")),
    ("Downloads", "MetalLB", charts.chart_check("metallb")),
    ("Downloads", "Traefik", charts.chart_check("traefik")),
    ("Downloads", "Flux", charts.chart_check("flux", "flux-operator")),
    ("From the internet", "DNS", dns.check_site_name),
)
"""Group, name and function of each check, in the order of the output."""


@dataclass(frozen=True)
class CheckFindings:
    """The findings of one check."""

    group: str
    check: str
    findings: tuple[Finding, ...]


Progress = Callable[[Sequence[str]], None]
"""A function that gets the names of the checks that still run."""


def collect_findings(
    context: Context,
    progress: Progress = lambda running: None,
    timeout_s: float = CHECKS_TIMEOUT_S,
    checks: Sequence[tuple[str, str, Check]] = CHECKS,
) -> list[CheckFindings]:
    """Run the checks in parallel, and return their findings in the order of ``checks``.

    A check that still runs after ``timeout_s`` seconds is reported as a warning.
    """
    done: queue.Queue[tuple[int, tuple[Finding, ...]]] = queue.Queue()

    def run(number: int, name: str, check: Check) -> None:
        done.put((number, _run_check(name, check, context)))

    for number, (_, name, check) in enumerate(checks):
        # Daemon threads, because Python would wait at exit for a request that hangs.
        threading.Thread(target=run, args=(number, name, check), daemon=True).start()
    found: dict[int, tuple[Finding, ...]] = {}
    end = time.monotonic() + timeout_s
    while len(found) < len(checks):
        progress([name for number, (_, name, _) in enumerate(checks) if number not in found])
        try:
            number, findings = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[number] = findings
    return [
        CheckFindings(
            group, name, _hide_secret(context, found.get(number, (_timed_out(name, timeout_s),)))
        )
        for number, (group, name, _) in enumerate(checks)
    ]


def _run_check(name: str, check: Check, context: Context) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    try:
        for finding in check(context):
            findings.append(finding)
    except CannotCheckError as error:
        text = f"not checked: {error}"
        findings.append(
            note(name, text)
            if error.reported_elsewhere
            else warning(
                name,
                text,
                "run `make doctor` again; if the error repeats, check the server that it names",
            )
        )
    except Exception as error:
        # A defect in one check must not hide the findings of the other checks.
        text = f"not checked: {type(error).__name__}: {error}"
        findings.append(warning(name, text, "this is a bug in the doctor: please report it"))
    return tuple(findings)


def _timed_out(name: str, timeout_s: float) -> Finding:
    fix = "run `make doctor` again"
    return warning(name, f"not checked: the check did not end within {timeout_s:g} s", fix)


def _hide_secret(context: Context, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Remove the secret of the API token, which a server's error message may repeat."""
    _, _, secret = context.settings.proxmoxve.api_token.get_secret_value().partition("=")

    def clean(text: str) -> str:
        return text.replace(secret, "[secret]")

    return tuple(
        Finding(it.result, clean(it.subject), clean(it.text), clean(it.fix)) for it in findings
    )


def worst_result(checks: Sequence[CheckFindings]) -> Result:
    """The worst result of all findings."""
    order = list(Result)
    results = [finding.result for check in checks for finding in check.findings]
    return max(results, key=order.index, default=Result.OK)
