"""Checks of IP addresses: the gateway answers, and no other device uses an address of the stack."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from clients.proxmox.guests import mac_address
from doctor.address_probe import Presence
from doctor.context import Context
from doctor.findings import Finding, failure, note, ok, warning
from doctor.proxmox import StackVm
from settings.node import Role
from settings.wording import count

MAX_POOL_ADDRESSES = 64
"""The check probes at most this number of addresses of the MetalLB pool."""


def check_gateway(context: Context) -> Iterator[Finding]:
    """Check that the gateway answers a probe or is in the neighbor table."""
    address = context.settings.network.gateway
    presence = context.probes.probe_addresses([address])[address]
    subject = f"gateway {address}"
    if presence.answer:
        yield ok(subject, f"answers: {presence.answer}")
    elif presence.mac_address:
        yield ok(subject, f"is in the neighbor table with MAC address {presence.mac_address}")
    elif presence.on_link:
        fix = "check network.gateway, and that the router is on"
        yield failure(subject, "does not answer: no device in this network has this address", fix)
    else:
        yield note(
            subject,
            "does not answer; this machine is in another network, so the gateway may still work",
            f"run on a Proxmox host: ping -c 1 {address}",
        )


def check_addresses(context: Context) -> Iterator[Finding]:
    """Check that no other device uses an address of a node, the VIP or the MetalLB pool."""
    purposes = _purposes(context)
    addresses = list(purposes)
    gateway_address = context.settings.network.gateway
    presences = context.probes.probe_addresses([*addresses, gateway_address])
    vms = context.proxmox.stack_vms()
    checker = _AddressCheck(context, vms, presences[gateway_address].mac_address)
    problems = [
        finding
        for address in addresses
        for finding in checker.problems(address, purposes[address], presences[address])
    ]
    yield from problems
    pool = context.settings.metallb.pool
    if pool.size > MAX_POOL_ADDRESSES:
        text = f"{pool} is large: only its first {MAX_POOL_ADDRESSES} addresses are checked"
        yield note("metallb.pool", text)
    if problems:
        return
    subject = "addresses of nodes, VIP and pool"
    text = f"are free or used by this stack ({count(len(addresses), 'address', 'addresses')})"
    if all(presences[address].on_link or presences[address].answer for address in addresses):
        yield ok(subject, text)
        return
    yield note(
        subject,
        f"{text} as far as this machine can find out: it is in another network, so it cannot "
        "find silent devices by ARP",
        f"run for each address {_find_device(addresses[0])}",
    )


def _find_device(address: IPv4Address) -> str:
    """A command for a host in the same network, with programs that each Proxmox host has."""
    return (
        f"in a shell of a Proxmox host: ping -c 1 -W 1 {address}; ip neigh show {address} -- a MAC "
        "address in the last line is that of the device"
    )


def _purposes(context: Context) -> dict[IPv4Address, str]:
    """What the stack uses each address for: the short name of a node, ``VIP`` or ``pool``."""
    settings = context.settings
    pool = settings.metallb.pool
    purposes = {node.address: node.short_name for node in settings.machines}
    purposes[settings.cluster.vip] = "VIP"
    purposes[settings.ingress_address] = purposes.get(settings.ingress_address, "pool")
    for number in range(min(pool.size, MAX_POOL_ADDRESSES)):
        purposes.setdefault(pool.first + number, "pool")
    return purposes


class _AddressCheck:
    """Decides whether a VM of the stack or another device uses an address."""

    def __init__(self, context: Context, vms: list[StackVm], gateway_mac: str) -> None:
        settings = context.settings
        running = [vm for vm in vms if vm.running]
        self._addresses = {vm.address for vm in running}
        control_planes = {
            node.vm_id for node in settings.machines if node.role is Role.CONTROL_PLANE
        }
        self._vip_is_up = any(vm.vm_id in control_planes for vm in running)
        self._pool_is_up = bool(running)
        # Includes the MAC addresses of VMs that do not exist: a rebuilt VM gets the same MAC
        # address, and a deleted VM stays in the neighbor table for some minutes.
        self._macs = {vm.mac_address for vm in vms} | {
            mac_address(settings.stack_tag, node.vm_id) for node in settings.machines
        }
        # A device that answers ARP for other devices (a Wi-Fi repeater, proxy ARP) uses its own
        # MAC address. So the gateway's MAC address does not identify a device.
        self._gateway_mac = gateway_mac

    def problems(self, address: IPv4Address, purpose: str, presence: Presence) -> Iterator[Finding]:
        """Report another device at ``address``; ``purpose`` is a value of ``_purposes``."""
        mac = presence.mac_address
        if mac == self._gateway_mac:
            mac = ""
        subject = f"{address} for {purpose}"
        is_other_mac = bool(mac) and mac not in self._macs
        device = f" (MAC address {mac})" if mac else ""
        is_expected = self._is_expected(address, purpose)
        if presence.answer and not is_expected and not presence.certain:
            yield warning(
                subject,
                f"may be taken: {presence.answer}, but a firewall on the path may be the cause",
                f"run {_find_device(address)}",
            )
        elif presence.answer and not is_expected:
            yield failure(
                subject,
                f"is taken: {presence.answer}{device}",
                "give that device another address, or choose another address in the stack file",
            )
        elif presence.answer and is_other_mac:
            yield warning(
                subject,
                f"is used by another device: no VM of the stack has MAC address {mac}, which "
                "answers at this address",
                "find the other device, and give it another address",
            )
        elif is_other_mac:
            yield warning(
                subject,
                f"was in use some minutes ago{device}, and does not answer now",
                "find the device, and give it another address",
            )

    def _is_expected(self, address: IPv4Address, purpose: str) -> bool:
        """Whether the running stack answers at this address."""
        if purpose == "VIP":
            return self._vip_is_up
        return self._pool_is_up if purpose == "pool" else address in self._addresses
