"""Files of a stack in the project folder: private files, and JSON records below ``.state/``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from settings.project import STATE

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file with mode 0600, completely or not at all. Its folder must exist.

    Raises ``OSError``.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
    try:
        with os.fdopen(handle, "wb") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


class JsonRecord(Generic[T]):
    """A kind of record: one JSON file ``.state/NAME-STACK.json`` for each stack, without secrets.

    The methods get the project folder and the name of the stack.
    """

    def __init__(self, name: str, content: Any) -> None:
        """``content`` is the type of the records: a dataclass, or a collection of one."""
        # Imported here: pydantic would slow down the start of every dynamic provider, which only
        # writes private files.
        from pydantic import TypeAdapter

        self._name = name
        self._adapter: TypeAdapter[T] = TypeAdapter(content)

    def file(self, project: Path, stack: str) -> Path:
        """The path of a stack's record."""
        return project / STATE / f"{self._name}-{stack}.json"

    def load(self, project: Path, stack: str) -> T | None:
        """Read the record of a stack; None if the file is missing or invalid."""
        try:
            return self._adapter.validate_json(self.file(project, stack).read_bytes())
        except (OSError, ValueError):
            return None

    def save(self, project: Path, stack: str, record: T) -> None:
        """Write the record of a stack, and replace the previous record. Raises ``OSError``."""
        path = self.file(project, stack)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private_file(path, self._adapter.dump_json(record, indent=1))
