"""``make down``: destroy the stack, then search Proxmox for resources that are not in the state."""

from __future__ import annotations

from collections.abc import Sequence

from clients.errors import OperationError
from clients.proxmox.api import ProxmoxError
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import PulumiError, Session
from commands import backup, last_up, orphaned_resources, recover, running_tasks, vms_in_state
from commands.ask import answer_flags, confirmed
from settings import stack_file
from settings.load import TOKEN, joined
from settings.problems import SettingsError

REFRESH_PROXMOX = ["refresh", "--target", "**VmLegacy**", "--target", "**download/file:File**"]
"""Refreshes VMs and images only, because the cluster may be unreachable.

Images are included: an image on a host that has left the Proxmox cluster cannot be deleted, and a
refresh removes it from the state (bpg/terraform-provider-proxmox v0.111.1
fwprovider/nodes/resource_download_file.go Read)."""

TOKEN_VARIABLE = "PROXMOX_VE_API_TOKEN"
"""Environment variable with the API token of Proxmox."""
TARGET_FLAGS = ("--target", "-t", "--exclude", "-x")
"""Flags (prefixes) of the Pulumi CLI that limit a destroy to some resources."""
PREVIEW_ONLY = frozenset({"--preview-only", "--preview-only=true"})
"""Flags of the Pulumi CLI that show a destroy without executing it."""


def down(session: Session, cli_args: Sequence[str]) -> int:
    """Destroy the stack and its orphaned resources; returns an exit code.

    ``cli_args`` are passed to ``pulumi destroy``. An orphaned resource that cannot be removed is
    reported, and the rest is still removed.
    """
    if PREVIEW_ONLY & set(cli_args):
        return session.run(["destroy"], cli_args)
    if code := recover.clear_killed_runs(session, cli_args):
        return code
    if not _is_partial(cli_args):
        if stack_settings.is_passphrase_lost(session):
            return _remove_without_passphrase(session, cli_args)
        running_tasks.wait(session)
    if not backup.before_destroy(session, cli_args):
        return 1
    if not _release_vms_in_state(session, cli_args):
        return 1
    _refresh_if_vms_are_missing(session, cli_args)
    unknown_vms = _find_unknown_vms(session, cli_args)
    if not _confirm_removal(unknown_vms, cli_args):
        return 1
    failed = _remove(unknown_vms)
    if code := session.run(["destroy"], cli_args):
        return code
    try:
        if session.resources():
            return failed  # only a part of the stack was destroyed
        last_up.mark_settled(session.project, session.stack)
        # This search also finds the VMs that could not be removed before the destroy.
        if code := _remove_orphans(session, cli_args):
            return code
    except (PulumiError, SettingsError, OperationError) as error:
        print(
            "Pulumi destroyed the stack, but Proxmox could not be searched for resources that are "
            f"not in the state. To search again, run `make down`. The reason: {error}"
        )
        return 1
    _forget_pending_operations(session)
    return 0


def _remove_without_passphrase(session: Session, cli_args: Sequence[str]) -> int:
    """Remove what belongs to the stack on Proxmox, without Pulumi; returns an exit code.

    Pulumi cannot decrypt the state, so it can destroy nothing. The API token comes from the
    environment.
    """
    token = session.environment.get(TOKEN_VARIABLE)
    if not token:
        print(
            "The passphrase is wrong or not set, so Pulumi cannot destroy the stack. Set "
            "PULUMI_CONFIG_PASSPHRASE to the passphrase. If the passphrase is lost, set "
            f"{TOKEN_VARIABLE} to the API token (USER@REALM!NAME=SECRET) and run `make down` "
            "again: it then removes all VMs with a MAC address of the stack, its pool and images."
        )
        return 1
    print(
        "The passphrase is wrong or not set, so Pulumi cannot destroy the stack, and the "
        "certificates cannot be saved.",
        flush=True,
    )
    try:
        file = stack_file.read(session.stack, session.project)
        # Every encrypted value is a placeholder, which is not used here.
        settings = joined(file.config | {TOKEN: token}, {}, session.stack)
        running_tasks.wait_for(settings.proxmoxve)
        orphans = orphaned_resources.find_orphans(settings.proxmoxve, settings.stack_tag)
    except (SettingsError, OperationError) as error:
        print(error)
        return 1
    if not _confirm_removal(orphans, cli_args, "belong to this stack") or _remove(orphans):
        return 1
    print(
        "Nothing of the stack is left on Proxmox. To use its name again, run `pulumi stack rm "
        f"{session.stack} --force --preserve-config`, and remove encryptionsalt and all encrypted "
        f"values from Pulumi.{session.stack}.yaml."
    )
    return 0


def _forget_pending_operations(session: Session) -> None:
    """Remove the record of interrupted operations from the state of a stack without resources.

    A destroy keeps it, so the next ``up`` would report a run that did not finish.
    """
    try:
        deployment = session.deployment()
        if deployment.get("pending_operations"):
            settled = deployment | {"pending_operations": []}
            session.replace_state(session.exported() | {"deployment": settled})
    except PulumiError as error:
        print(
            "Pulumi destroyed the stack, but its state still has a record of interrupted "
            f"operations, so the next `make up` recovers first. The reason: {error}"
        )


def _is_partial(cli_args: Sequence[str]) -> bool:
    return any(arg.startswith(TARGET_FLAGS) for arg in cli_args)


def _release_vms_in_state(session: Session, cli_args: Sequence[str]) -> bool:
    """Remove VMs whose VM id belongs to somebody else from the state; returns whether to continue.

    Also takes machines of others out of the pool, unless only a part of the stack is destroyed. If
    Proxmox does not answer, the destroy cannot delete a VM either.
    """
    try:
        if not vms_in_state.release(session, cli_args, for_destroy=True):
            return False
        if not _is_partial(cli_args):
            vms_in_state.take_others_out_of_pool(session)
        return True
    except ProxmoxError as error:
        print(f"It cannot be checked to whom the VM ids belong: {error}", flush=True)
        return True
    except PulumiError as error:
        print(error, flush=True)
        return False


def _refresh_if_vms_are_missing(session: Session, cli_args: Sequence[str]) -> None:
    """Remove from the state what was deleted by hand, because the provider fails to delete it.

    Prints nothing if state and Proxmox agree; otherwise the CLI shows the differences and asks.
    Errors are ignored: the destroy that follows reports them.
    """
    if not session.succeeds([*REFRESH_PROXMOX, "--preview-only", "--expect-no-changes"]):
        print("Proxmox differs from the Pulumi state. Refreshing VMs and images first.", flush=True)
        session.run(REFRESH_PROXMOX, answer_flags(cli_args))


def _find_unknown_vms(
    session: Session, cli_args: Sequence[str]
) -> list[orphaned_resources.OrphanedResource]:
    """Find VMs of the stack that are not in the state.

    They must be removed before the destroy, because Proxmox does not delete a pool with VMs in it.
    Returns nothing if only a part of the stack is destroyed, and nothing on errors: the destroy
    that follows reports them.
    """
    if _is_partial(cli_args):
        return []
    try:
        resources = session.resources()
        if not resources:
            return []  # the search after the destroy finds them
        known_ids = vms_in_state.by_vm_id(resources)
        settings = stack_settings.settings(session)
        return orphaned_resources.find_vms(settings.proxmoxve, settings.stack_tag, known_ids)
    except (PulumiError, SettingsError, OperationError):
        return []


def _remove_orphans(session: Session, cli_args: Sequence[str]) -> int:
    """Remove what a killed run created and did not write to the state; returns an exit code."""
    settings = stack_settings.settings(session)
    planned_ids = {node.vm_id for node in settings.machines}
    orphans = orphaned_resources.find_orphans(settings.proxmoxve, settings.stack_tag, planned_ids)
    return _remove(orphans) if _confirm_removal(orphans, cli_args) else 1


def _confirm_removal(
    orphans: Sequence[orphaned_resources.OrphanedResource],
    cli_args: Sequence[str],
    relation: str = "belong to this stack but are not in the Pulumi state",
) -> bool:
    """List resources of the stack, and ask whether to remove them."""
    if not orphans:
        return True
    print(f"These resources on Proxmox {relation}:")
    return confirmed((f"remove {it.sentence}" for it in orphans), "Remove them?", cli_args)


def _remove(orphans: Sequence[orphaned_resources.OrphanedResource]) -> int:
    """Remove the resources one after the other; returns 1 if one could not be removed."""
    code = 0
    for orphan in orphans:
        try:
            orphan.remove()
        except OperationError as error:
            print(error, flush=True)
            code = 1
        else:
            print(f"Removed {orphan.sentence}.", flush=True)
    return code
