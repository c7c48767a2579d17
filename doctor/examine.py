"""Runs all checks side by side, within a limit, and collects what they find."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from doctor import (
    addresses,
    api,
    backups,
    certificates,
    charts,
    hosts,
    image_factory,
    machines,
    outside,
    privileges,
    storage,
    storages,
    tools,
)
from doctor.context import Check, Context
from doctor.findings import CannotTellError, Finding, Result, note, warning

LIMIT = 60
"""Seconds that the whole visit may take; each question has a limit of its own, far below."""

CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("This machine", "settings", tools.settings),
    ("This machine", "tools", tools.check),
    ("Proxmox", "API", api.check),
    ("Proxmox", "privileges", privileges.check),
    ("Proxmox", "hosts", hosts.check),
    ("Proxmox", "bridge", hosts.bridge),
    ("Proxmox", "storages", storages.check),
    ("Proxmox", "VM ids", machines.check),
    ("Network", "gateway", addresses.gateway),
    ("Network", "addresses", addresses.check),
    ("Network", "DHCP", outside.dhcp),
    ("Castle", "certificates", certificates.check),
    ("Castle", "backups", backups.check),
    ("Storage", "cluster", storage.cluster),
    ("Storage", "data disks", storage.data_disks),
    ("Storage", "copies", storage.copies),
    ("Storage", "engines", storage.engines),
    ("Storage", "backup target", storage.target),
    ("Storage", "volume backups", storage.backups),
    ("Downloads", "Image Factory", image_factory.check),
    ("Downloads", "Image Factory from the hosts", image_factory.from_hosts),
    ("Downloads", "Longhorn", charts.longhorn),
    ("Downloads", "MetalLB", charts.metallb),
    ("Downloads", "Traefik", charts.traefik),
    ("Downloads", "Flux", charts.flux),
    ("From the internet", "DNS", outside.names),
    ("From the internet", "ports", outside.ports),
)
"""Group, name and function of each check, in the order in which they are told."""


@dataclass(frozen=True)
class Examined:
    """What one check found."""

    group: str
    check: str
    findings: tuple[Finding, ...]


Progress = Callable[[Sequence[str]], None]
"""Told of the checks that are still under way."""


def examine(
    context: Context,
    progress: Progress = lambda waiting: None,
    limit: float = LIMIT,
    checks: Sequence[tuple[str, str, Check]] = CHECKS,
) -> list[Examined]:
    """Run the checks; one that does not end in time is told of, and left to itself."""
    done: queue.Queue[tuple[int, tuple[Finding, ...]]] = queue.Queue()

    def run(number: int, name: str, check: Check) -> None:
        done.put((number, _found(name, check, context)))

    for number, (_, name, check) in enumerate(checks):
        # Daemons: a question that hangs must not hold up the end of the program.
        threading.Thread(target=run, args=(number, name, check), daemon=True).start()
    found: dict[int, tuple[Finding, ...]] = {}
    end = time.monotonic() + limit
    while len(found) < len(checks):
        progress([name for number, (_, name, _) in enumerate(checks) if number not in found])
        try:
            number, findings = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[number] = findings
    return [
        Examined(group, name, _hide(context, found.get(number, (_late(name, limit),))))
        for number, (group, name, _) in enumerate(checks)
    ]


def _found(name: str, check: Check, context: Context) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    try:
        for finding in check(context):
            findings.append(finding)
    except CannotTellError as error:
        text = f"not checked: {error}"
        findings.append(
            note(name, text)
            if error.said_elsewhere
            else warning(name, text, "run `make doctor` again; else see that line's own program")
        )
    except Exception as error:
        # What nobody thought of must hide nothing of what the other checks found.
        text = f"not checked: {type(error).__name__}: {error}"
        findings.append(warning(name, text, "this is a defect of the doctor: please report it"))
    return tuple(findings)


def _late(name: str, limit: float) -> Finding:
    fix = "run `make doctor` again"
    return warning(name, f"not checked: it did not end within {limit:g} s", fix)


def _hide(context: Context, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The token's secret half is in no line, whatever a server may have sent back."""
    _, _, secret = context.settings.proxmoxve.api_token.get_secret_value().partition("=")

    def clean(text: str) -> str:
        return text.replace(secret, "[secret]")

    return tuple(
        Finding(it.result, clean(it.subject), clean(it.text), clean(it.fix)) for it in findings
    )


def worst(examined: Sequence[Examined]) -> Result:
    """The worst of all results."""
    order = list(Result)
    results = [finding.result for one in examined for finding in one.findings]
    return max(results, key=order.index, default=Result.OK)
