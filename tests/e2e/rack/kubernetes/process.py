"""A program that runs until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

_PATIENCE = 10
"""Seconds in which a program must end before it is killed."""


class Process:
    """One running program, whose output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(
        cls,
        program: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program with an environment of its own, which is empty by default.

        With a proxy in its environment the API server calls webhooks through it.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                env=environment or {},
                cwd=log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.returncode is not None

    async def end(self) -> None:
        """Wait until it has ended by itself."""
        await self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if not self.ended:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.ended:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _PATIENCE)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
