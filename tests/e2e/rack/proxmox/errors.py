"""Errors with the messages of Proxmox VE.

The provider shows the HTTP reason phrase to its user and recognises some errors by their text, so
the text is part of the interface. The texts are those of Proxmox VE 8 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping


class ProxmoxError(Exception):
    """A request that is refused with a status, a reason phrase, and errors by parameter."""

    def __init__(
        self, reason: str, *, status: int = 500, errors: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.errors = dict(errors or {})


class TaskError(Exception):
    """A task that was accepted, ran, and failed; the text becomes its exit status."""

    def __init__(self, reason: str, *, log: str = "") -> None:
        super().__init__(reason)
        self.log = log
        """A line that only the log of the task has."""


def invalid_parameter(name: str, problem: str) -> ProxmoxError:
    """A parameter does not pass the schema."""
    return ProxmoxError("Parameter verification failed.", status=400, errors={name: problem})


def unauthorized(problem: str) -> ProxmoxError:
    """The token is missing, unknown or wrong."""
    return ProxmoxError(problem, status=401)


def not_implemented(method: str, path: str) -> ProxmoxError:
    """There is no such method on this path."""
    return ProxmoxError(f"Method '{method} {path}' not implemented", status=501)


def unknown_node(node: str) -> ProxmoxError:
    """The cluster has no such node, so the request cannot be passed on to it."""
    return ProxmoxError(
        f"hostname lookup '{node}' failed - failed to get address info for: {node}: "
        "Name or service not known"
    )


def no_quorum() -> ProxmoxError:
    """A majority of the nodes is missing, so nothing can be changed (pve-cluster
    ``check_cfs_quorum``)."""
    return ProxmoxError("cluster not ready - no quorum?")


def forbidden(path: str, privilege: str) -> ProxmoxError:
    """The token lacks a privilege (pve-access-control ``RPCEnvironment.pm``)."""
    return ProxmoxError(f"Permission check failed ({path}, {privilege})", status=403)


def unreachable_node() -> ProxmoxError:
    """The node is known, but does not answer the one that was asked."""
    return ProxmoxError("No route to host", status=595)


def unknown_storage(storage: str) -> ProxmoxError:
    """The node has no such storage."""
    return ProxmoxError(f"storage '{storage}' does not exist")


def unknown_volume(volid: str) -> ProxmoxError:
    """The storage has no such volume."""
    return ProxmoxError(f"volume '{volid}' does not exist")


def unknown_vm(node: str, vmid: int) -> ProxmoxError:
    """The node has no such VM; the provider waits for these words after a delete (B6)."""
    return ProxmoxError(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")


def unknown_pool(poolid: str) -> ProxmoxError:
    """There is no such pool."""
    return ProxmoxError(f"pool '{poolid}' does not exist")


def forbidden_pool(poolid: str) -> ProxmoxError:
    """A new VM shall be in a pool that does not exist, so nobody has a privilege on it."""
    return ProxmoxError(f"Permission check failed (pool '{poolid}' does not exist)", status=403)


def vm_exists(vmid: int, node: str) -> ProxmoxError:
    """The id is taken, somewhere in the cluster."""
    return ProxmoxError(f"unable to create VM {vmid} - VM {vmid} already exists on node '{node}'")


def vm_locked(lock: str) -> TaskError:
    """Somebody else is working on the VM. What changes the configuration is refused with it; what
    makes a task fails in the task."""
    return TaskError(f"VM is locked ({lock})")


def vm_running(vmid: int) -> ProxmoxError:
    """The VM must be stopped first."""
    return ProxmoxError(f"VM {vmid} is running - destroy failed")


def agent_not_running() -> ProxmoxError:
    """Nothing answers on the guest agent's channel (yet); the provider asks again (B4)."""
    return ProxmoxError("QEMU guest agent is not running")


def wrong_content_type(storage: str, content: str) -> ProxmoxError:
    """The storage is not configured for such files."""
    return ProxmoxError(f"storage '{storage}' is not configured for content-type '{content}'")


def no_vm_images(storage: str) -> ProxmoxError:
    """The storage is not configured for disks of VMs."""
    return invalid_parameter("storage", f"storage '{storage}' does not support vm images")


def full(storage: str, needed: int, available: int) -> TaskError:
    """The storage has too little room; this shows only while the task runs."""
    return TaskError(
        f"storage '{storage}' has insufficient free space ({available} bytes): "
        f"{needed} bytes required."
    )
