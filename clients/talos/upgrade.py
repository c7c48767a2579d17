"""Upgrades Talos on one node: pulls the installer image, installs it, and reboots the node.

``talosctl upgrade`` is not used. If a signal stops it during the pull, it takes the cut stream for
success and reboots a node that is not upgraded; and while Talos repeats a failed pull for 20
minutes, it prints nothing (both observed with v1.13.9). Here, the node reboots only after the
installer has reported success, and a pull without progress ends with the reason in the node's log.

The field numbers are those of siderolabs/talos v1.13.9 (api/machine, api/common).
"""

from __future__ import annotations

import ssl
import time

from clients.talos import machine_api, protobuf
from clients.talos.errors import UNIMPLEMENTED, UNKNOWN, TalosError

PULL_SILENCE_TIMEOUT_S = 90
"""Seconds without progress after which a pull has failed."""
INSTALL_TIMEOUT_S = 900
"""Seconds that Talos has to write an installer image to the disk, or, before 1.13, to pull it."""
_PULL = "/machine.ImageService/Pull"
_INSTALL = "/machine.LifecycleService/Upgrade"
_DMESG = "/machine.MachineService/Dmesg"
_REBOOT = "/machine.MachineService/Reboot"
_OLD_PULL = "/machine.MachineService/ImagePull"
_OLD_UPGRADE = "/machine.MachineService/Upgrade"
_CONTAINERD = protobuf.field(1, protobuf.number_field(1, 1) + protobuf.number_field(2, 1))
"""The container runtime of Kubernetes, and its namespace of Talos' own images."""
_OLD_NAMESPACE = protobuf.number_field(1, 1)
"""The same namespace in an ``ImagePullRequest``."""
_EXTRACTING = 2
"""Status of a layer that is written to the disk; it has no offset."""
_RETRY = "retrying error: "
"""Start of the reason in the node's log (siderolabs/go-retry v0.3.3)."""


class TalosUpgrade:
    """The upgrade of one node to one installer image. Each method raises ``TalosError``."""

    def __init__(self, address: str, context: ssl.SSLContext, image: str) -> None:
        self._address, self._context, self._image = address, context, image

    def pull(self) -> None:
        """Pull the image, so that the installation is short. Does nothing if the node has it."""
        known = self._errors_in_log()
        try:
            self._stream(
                _PULL,
                _CONTAINERD + protobuf.field(3, self._image.encode()),
                PULL_SILENCE_TIMEOUT_S,
                _PullProgress(self._address),
            )
        except TalosError as error:
            if error.status == UNIMPLEMENTED:
                self._pull_before_1_13(known)
            elif error.status is not None:
                raise
            else:
                raise self._explain(error, known) from None

    def install(self) -> None:
        """Install the image for the next boot (Talos 1.13 and newer). The node does not reboot."""
        source = protobuf.field(2, protobuf.field(1, self._image.encode()))
        answers = self._stream(_INSTALL, _CONTAINERD + source, INSTALL_TIMEOUT_S)
        progress = [protobuf.find(answer, 1) for answer in answers]
        messages = [text for it in progress if (text := protobuf.find(it, 1).decode())]
        if not progress or protobuf.find(progress[-1], 1):
            detail = "the installer ended without a result"
        elif code := protobuf.find_number(progress[-1], 2):
            detail = f"the installer failed with exit code {code}"
        else:
            return
        raise TalosError("Upgrade", self._address, ": ".join([detail, *messages[-1:]]), UNKNOWN)

    def reboot(self) -> None:
        """Reboot the node. If it does not answer, it may reboot nevertheless: that is no error."""
        try:
            machine_api.call(self._address, self._context, _REBOOT)
        except TalosError as error:
            if error.status is not None:
                raise

    def install_and_reboot(self) -> None:
        """Install the image and reboot the node (Talos before 1.13, which does both itself)."""
        retains_data = protobuf.number_field(2, 1)
        message = protobuf.field(1, self._image.encode()) + retains_data
        self._stream(_OLD_UPGRADE, message, INSTALL_TIMEOUT_S)

    def _pull_before_1_13(self, known: set[str]) -> None:
        """Pull the image with the call of older versions, which reports no progress.

        A call ends after ``PULL_SILENCE_TIMEOUT_S``. If the log has no error, the next call
        continues the pull.
        """
        message = _OLD_NAMESPACE + protobuf.field(2, self._image.encode())
        deadline = time.monotonic() + INSTALL_TIMEOUT_S
        while True:
            try:
                self._stream(_OLD_PULL, message, PULL_SILENCE_TIMEOUT_S)
            except TalosError as error:
                is_over = time.monotonic() >= deadline or self._errors_in_log() - known
                if error.status is not None or is_over:
                    raise self._explain(error, known) from None
            else:
                return

    def _explain(self, error: TalosError, known: set[str]) -> TalosError:
        """The error with the reason that is new in the node's log, if there is one."""
        if error.status is not None:
            return error
        if new := self._errors_in_log() - known:
            _, _, reason = max(new).partition(_RETRY)
            return TalosError("Pull", self._address, reason, UNKNOWN)
        detail = f"{error.detail}; the log of the node has no error of the pull"
        return TalosError("Pull", self._address, detail, UNKNOWN)

    def _errors_in_log(self) -> set[str]:
        """The lines of the node's log about failed pulls of the image; none if it cannot be read.

        Each line begins with its facility, its level and the time, so the newest is the last.
        """
        try:
            parts = machine_api.stream(self._address, self._context, _DMESG)
        except TalosError:
            return set()
        lines = [protobuf.find(part, 2).decode(errors="replace").strip() for part in parts]
        return {line for line in lines if _RETRY in line and self._image in line}

    def _stream(
        self,
        procedure: str,
        message: bytes,
        limit: float,
        watch: machine_api.Watch | None = None,
    ) -> list[bytes]:
        return machine_api.stream(self._address, self._context, procedure, [message], limit, watch)


class _PullProgress:
    """Ends a pull whose layers make no progress. Talos reports them ten times a second, also while
    the registry sends nothing."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._layers: dict[bytes, tuple[int, int]] = {}
        """Status and offset of each layer."""
        self._changed = time.monotonic()

    def __call__(self, message: bytes) -> None:
        layer, progress = protobuf.find(message, 2, 1), protobuf.find(message, 2, 2)
        found = protobuf.find_number(progress, 1), protobuf.find_number(progress, 3)
        if found[0] == _EXTRACTING or self._layers.get(layer) != found:
            self._layers[layer] = found
            self._changed = time.monotonic()
        elif time.monotonic() - self._changed > PULL_SILENCE_TIMEOUT_S:
            detail = f"the pull made no progress for {PULL_SILENCE_TIMEOUT_S} s"
            raise TalosError("Pull", self._address, detail)
