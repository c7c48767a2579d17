"""The programs that a control plane is made of."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


class ProgramsMissingError(Exception):
    """Not all programs are there; the text names those that are not."""


@dataclasses.dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    etcd: str
    kube_apiserver: str
    kube_controller_manager: str
    kube_scheduler: str
    kwok: str
    etcdutl: str | None = None
    """Needed only where etcd begins with a snapshot."""

    @classmethod
    def find(cls, folders: str | None = None) -> Programs:
        """Look in folders, written as in PATH, or on PATH itself."""
        found = [shutil.which(name, path=folders) for name in _NAMES]
        missing = [name for name, program in zip(_NAMES, found, strict=True) if program is None]
        if missing:
            raise ProgramsMissingError(", ".join(missing))
        etcdutl = shutil.which("etcdutl", path=folders)
        programs = [program for program in [*found, etcdutl] if program]
        return cls(*_absolute(programs))


def _absolute(programs: Sequence[str]) -> list[str]:
    return [os.fspath(Path(program).absolute()) for program in programs]
