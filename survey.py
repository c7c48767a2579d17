"""Looks at Proxmox before anything is made: is a VM id that we want taken already?

The provider adopts a foreign guest that has one of our ids without a word, resizes it, and later
destroys it with its disks (facts/end-to-end.md 9). The engine's preview asks Proxmox nothing. So
we look ourselves, with one request, in every preview and every ``up``; a ``destroy`` never asks.

A guest is ours when it bears our tag, or when the engine has it in its state: for a guest without
the tag we leave a hook that refuses, and which the engine runs only for what is not in its state.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from settings import Node, Settings
from settings.models import Endpoint

ANSWER_LIMIT = 10
"""Seconds that Proxmox has to answer."""


@dataclass(frozen=True)
class Guest:
    """A virtual machine or container that Proxmox has."""

    vm_id: int
    name: str
    host: str
    kind: str
    """``qemu`` or ``lxc``: both draw from the same ids."""
    tags: frozenset[str]


class SurveyError(Exception):
    """Proxmox could not be asked: what was tried, why it failed, and the cure."""


def access(settings: Settings) -> dict[str, Any]:
    """How the provider reaches Proxmox; the token stays a secret."""
    return {
        "endpoint": settings.proxmoxve.endpoint,
        "insecure": settings.proxmoxve.insecure,
        "api_token": pulumi.Output.secret(settings.proxmoxve.api_token.get_secret_value()),
    }


def look(settings: Settings) -> pulumi.ResourceHookBinding | None:
    """Look at what Proxmox has, and return hooks that refuse to touch what is not ours.

    Returns ``None`` where nothing stands in the way. Where Proxmox cannot be asked a preview warns
    and goes on, and an ``up`` ends: raises ``pulumi.RunError`` before anything is made.
    """
    owner = settings.owner
    try:
        guests = list_guests(settings.proxmoxve)
    except SurveyError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}\nNothing has been touched.") from None
        pulumi.log.warn(f"{error}\nWhether VM ids are taken has not been checked.")
        return None
    taken = strangers(guests, settings.machines, owner)
    if not taken:
        return None
    messages = {node.name: refusal(node, guest, owner) for node, guest in taken}

    def refuse(args: pulumi.ResourceHookArgs) -> None:
        """A machine is refused for its own id; what comes before all machines, for any."""
        own = [text for name, text in messages.items() if args.name.endswith(name)]
        is_machine = args.type == "proxmoxve:index/vmLegacy:VmLegacy"
        if own or not is_machine:
            raise RuntimeError("\n".join(own or messages.values()))

    hook = pulumi.ResourceHook(
        "vm-ids-are-free", refuse, pulumi.ResourceHookOptions(on_dry_run=True)
    )
    return pulumi.ResourceHookBinding(before_create=[hook])


def list_guests(proxmox: Endpoint) -> list[Guest]:
    """Every guest of the Proxmox cluster, those of hosts that are switched off too.

    Raises ``SurveyError``.
    """
    base = proxmox.endpoint.removesuffix("/api2/json")
    token = proxmox.api_token.get_secret_value()
    url = f"{base}/api2/json/cluster/resources?type=vm"
    context = ssl.create_default_context()
    if proxmox.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"PVEAPIToken={token}"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT, context=context) as answer:
            return [_guest(entry) for entry in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        error.close()
        cure = (
            "Check proxmoxve:apiToken and that the token has not expired."
            if error.code in (401, 403)
            else "Look at the Proxmox host's own log."
        )
        raise SurveyError(
            f"Proxmox at {base} answers {error.code} {error.reason}. {cure}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise SurveyError(
            f"Proxmox at {base} (proxmoxve:endpoint) does not answer as it should: {reason}. Check "
            "that the host is up and the address is right; with a self-signed certificate set "
            "proxmoxve:insecure to true."
        ) from None


def _guest(entry: dict[str, Any]) -> Guest:
    return Guest(
        vm_id=int(entry["vmid"]),
        name=entry.get("name", ""),
        host=entry["node"],
        kind=entry["type"],
        tags=frozenset(entry.get("tags", "").replace(",", ";").split(";")),
    )


def strangers(
    guests: Iterable[Guest], nodes: Sequence[Node], owner: str
) -> list[tuple[Node, Guest]]:
    """The machines that we want whose id another guest has, with that guest."""
    by_id = {guest.vm_id: guest for guest in guests if owner not in guest.tags}
    return [(node, by_id[node.vm_id]) for node in nodes if node.vm_id in by_id]


def refusal(node: Node, guest: Guest, owner: str) -> str:
    """Why a machine is not made, and what to do."""
    kind = "container" if guest.kind == "lxc" else "virtual machine"
    return (
        f"VM id {node.vm_id}, wanted for {node.name}, is taken: on {guest.host} it is the {kind} "
        f"'{guest.name}', which is not ours and has not been touched. Choose another "
        f"proxmox.first_vm_id, or a vm_id for {node.short_name} in nodes.overrides. (If it is a "
        f"machine of this castle that lost its tag, give it the tag {owner} in Proxmox.)"
    )
