"""What the program loads before it does anything."""

from __future__ import annotations

import ast
import subprocess
import sys

from settings.project import PROJECT_FOLDER


def test_the_program_loads_no_library_that_a_preview_does_not_need() -> None:
    """Loading cryptography alone takes a twelfth of the program's start."""
    main = ast.parse((PROJECT_FOLDER / "__main__.py").read_text(encoding="utf-8"))
    imports: list[ast.stmt] = [
        it for it in main.body if isinstance(it, ast.Import | ast.ImportFrom)
    ]
    program = ast.unparse(ast.Module(imports, [])) + "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "components.talos.cluster" in loaded
    assert not loaded & {"cryptography", "obstore", "aiohttp"}
