"""Imports the newest copy of a lost Pulumi state from the backup store, for ``make recover``.

A copy may be older than what runs. So its VMs are compared with those on Proxmox, and the running
nodes are asked whether they accept the machine secrets in the copy. Differences are named before
the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backup.store import BackupError
from clients.proxmox.guests import Guest, Ownership, list_guests, ownership
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.secrets import SecretsError, decrypted
from clients.pulumi_cli.session import Session
from clients.talos import machine_api
from clients.talos.errors import TalosError
from commands.ask import confirmed
from commands.snapshot import talos_credentials
from commands.state_backup import StateCopy, has_age_key, has_resources, newest_copy
from settings.models import Settings


def fetch_if_lost(session: Session, cli_args: Sequence[str]) -> bool:
    """If the state is empty and the backup store has a copy, ask and import it.

    Returns whether to continue. Raises ``PulumiError``, ``SettingsError``, ``ProxmoxError`` and
    ``BackupError``.
    """
    exported = session.exported()
    if has_resources(exported) or (exported.get("deployment") or {}).get("pending_operations"):
        return True
    if not has_age_key(session):
        return True
    settings = stack_settings.settings(session)
    copy = newest_copy(settings)
    if copy is None or not copy.has_resources:
        return True
    vms = [vm.vm_id for vm in copy.stack.machines.values() if vm.vm_id is not None]
    wanted = {*vms, *(node.vm_id for node in settings.machines)}
    guests = list_guests(settings.proxmoxve, sorted(wanted))
    print(
        "The Pulumi state has no resources, but the backup store has a copy: number "
        f"{copy.serial}, saved {copy.written:%Y-%m-%d %H:%M} UTC on {copy.computer}, with "
        f"{', '.join(copy.stack.machines) or 'no VMs'}.",
        flush=True,
    )
    if _is_of_another_cluster(copy, session):
        print(
            "It is the copy of an earlier cluster: no running node accepts its machine secrets. It "
            "is not imported. Copy .state/ from the computer that has it, or run `make down`."
        )
        return False
    older = list(_changes_since(copy, guests, settings))
    if older:
        print("It is OLDER than what runs:")
        print("\n".join(f"  - {change}" for change in older), flush=True)
    effect = "import this copy as the state of the stack; a refresh then updates it"
    if not confirmed([effect], "Import the copy?", cli_args):
        return False
    session.replace_state(copy.exported)
    return True


def _changes_since(copy: StateCopy, guests: Sequence[Guest], settings: Settings) -> Iterator[str]:
    """What the stack has on Proxmox and the copy does not, and the other way round."""
    tag = settings.stack_tag
    on_proxmox = {it.vm_id: it for it in guests if ownership(it, tag, False) is Ownership.STACK}
    in_copy = {vm.vm_id: vm for vm in copy.stack.machines.values()}
    for vm_id, guest in on_proxmox.items():
        if vm_id not in in_copy:
            yield f"{guest.name or 'a VM'} (VM {vm_id} on {guest.host}) is not in the copy"
    for vm in copy.stack.machines.values():
        if vm.vm_id is None:
            continue
        if (found := on_proxmox.get(vm.vm_id)) is None:
            yield f"{vm.name} (VM {vm.vm_id}) is not on Proxmox any more"
        elif vm.host not in (None, found.host):
            yield f"{vm.name} (VM {vm.vm_id}) is on {found.host} now, not on {vm.host}"


def _is_of_another_cluster(copy: StateCopy, session: Session) -> bool:
    """Whether nodes run, and none of them accepts the machine secrets in the copy.

    Raises ``BackupError`` if the passphrase is another one.
    """
    provider = copy.exported["deployment"].get("secrets_providers") or {}
    if provider.get("type") != "passphrase":
        return False  # only the CLI can decrypt the secrets, after the import
    try:
        deployment: dict[str, Any] = decrypted(copy.exported, session.environment)["deployment"]
    except SecretsError as error:
        raise BackupError(
            f"The secrets in the copy {error}. Set PULUMI_CONFIG_PASSPHRASE to the passphrase of "
            f"{copy.written:%Y-%m-%d}."
        ) from None
    credentials = talos_credentials(deployment.get("resources") or [])
    if credentials is None:
        return False
    api = machine_api.MachineApi(credentials)
    addresses = [vm.address for vm in copy.stack.machines.values() if vm.address]
    refusing = [it for it in addresses if machine_api.is_unconfigured(it) is False]
    return bool(refusing) and not any(_accepts(api, address) for address in refusing)


def _accepts(api: machine_api.MachineApi, address: str) -> bool:
    try:
        api.call(address, "Version")
    except TalosError:
        return False
    return True
