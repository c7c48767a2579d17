"""The addresses: nobody else may be at one of ours, and the gateway must be at its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from clients.proxmox.guests import mac_address
from doctor.context import Context
from doctor.findings import Finding, failure, note, ok, warning
from doctor.presence import Presence
from doctor.proxmox import OwnMachine
from settings.node import Role
from settings.wording import count

MOST = 64
"""Addresses of the MetalLB pool that are looked at; it may be larger."""


def gateway(context: Context) -> Iterator[Finding]:
    """The router answers; where it keeps silent, ARP knows whether it is there."""
    address = context.settings.network.gateway
    seen = context.probes.presence([address])[address]
    subject = f"gateway {address}"
    if seen.answer:
        yield ok(subject, f"is there: {seen.answer}")
    elif seen.mac_address:
        yield ok(subject, f"is there: {seen.mac_address}")
    elif seen.on_link:
        fix = "check network.gateway, and that the router is on"
        yield failure(subject, "is not there: nobody in this network has that address", fix)
    else:
        yield note(
            subject,
            "did not answer, which means little: this machine is not in its network",
            f"on a Proxmox host: ping -c 1 {address}",
        )


def check(context: Context) -> Iterator[Finding]:
    """Machines, VIP and pool. Ours may be where they are; so each address has those who may."""
    owners = _owners(context)
    looked_at = list(owners)
    gateway_address = context.settings.network.gateway
    seen = context.probes.presence([*looked_at, gateway_address])
    own = context.proxmox.own_machines()
    judge = _Judge(context, own, seen[gateway_address].mac_address)
    found = [
        finding for address in looked_at for finding in judge.on(address, owners[address], seen)
    ]
    yield from found
    pool = context.settings.metallb.pool
    if pool.size > MOST:
        yield note("metallb.pool", f"{pool} is large: its first {MOST} addresses are looked at")
    if found:
        return
    text = f"are free, or ours ({count(len(looked_at), 'address', 'addresses')})"
    if all(seen[address].on_link or seen[address].answer for address in looked_at):
        yield ok("machines, VIP and pool", text)
        return
    bridge = context.settings.network.bridge
    yield note(
        "machines, VIP and pool",
        f"{text} as far as can be told: this machine is not in their network, where somebody "
        "silent would be found by ARP",
        f"on a Proxmox host, for each one: arping -D -c 2 -I {bridge} {looked_at[0]}",
    )


def _owners(context: Context) -> dict[IPv4Address, str]:
    """Who is to have each address: a machine's short name, ``VIP`` or ``pool``."""
    settings = context.settings
    pool = settings.metallb.pool
    owners = {node.address: node.short_name for node in settings.machines}
    owners[settings.cluster.vip] = "VIP"
    owners[settings.ingress_address] = owners.get(settings.ingress_address, "pool")
    for number in range(min(pool.size, MOST)):
        owners.setdefault(pool.first + number, "pool")
    return owners


class _Judge:
    """Tells ours from others."""

    def __init__(self, context: Context, own: list[OwnMachine], gateway_mac: str) -> None:
        settings = context.settings
        running = [machine for machine in own if machine.running]
        self._addresses = {machine.address for machine in running}
        control_planes = {
            node.vm_id for node in settings.machines if node.role is Role.CONTROL_PLANE
        }
        self._at_vip = any(machine.vm_id in control_planes for machine in running)
        self._at_pool = bool(running)
        # MAC addresses stay the same through every rebuild: a castle that was just taken down is
        # in the neighbour table for some minutes more.
        self._macs = {machine.mac_address for machine in own} | {
            mac_address(settings.stack_tag, node.vm_id) for node in settings.machines
        }
        # A bridge that speaks for others (a Wi-Fi repeater, proxy ARP) tells nothing of them.
        self._speaks_for_others = gateway_mac

    def on(
        self, address: IPv4Address, stack_tag: str, seen: Mapping[IPv4Address, Presence]
    ) -> Iterator[Finding]:
        """What is wrong with one address, if anything."""
        presence = seen[address]
        mac = presence.mac_address
        if mac == self._speaks_for_others:
            mac = ""
        subject = f"{address} for {stack_tag}"
        foreign = bool(mac) and mac not in self._macs
        who = f" (MAC address {mac})" if mac else ""
        ours = self._may_be_ours(address, stack_tag)
        if presence.answer and not ours and not presence.certain:
            yield warning(
                subject,
                f"may be taken: {presence.answer}, unless a firewall on the way does",
                f"see from a Proxmox host who that is: arping -c 2 {address}",
            )
        elif presence.answer and not ours:
            yield failure(
                subject,
                f"is taken: {presence.answer}{who}",
                "give that device another address, or choose another one here",
            )
        elif presence.answer and foreign:
            yield warning(
                subject,
                f"should be ours, but none of our machines has the {who.strip(' ()')}, which "
                "answers there",
                "look for a second device with that address",
            )
        elif foreign:
            yield warning(
                subject,
                f"was seen in use a moment ago{who}, and is silent now",
                "find out which device that is, and give it another address",
            )

    def _may_be_ours(self, address: IPv4Address, stack_tag: str) -> bool:
        if stack_tag == "VIP":
            return self._at_vip
        return self._at_pool if stack_tag == "pool" else address in self._addresses
