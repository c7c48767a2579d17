"""What the program loads before it does anything."""

from __future__ import annotations

import ast

from settings.project import PROJECT_FOLDER
from tests.loaded_modules import loaded_modules


def test_the_program_loads_no_library_that_a_preview_does_not_need() -> None:
    """Loading cryptography alone takes a twelfth of the program's start."""
    main = ast.parse((PROJECT_FOLDER / "__main__.py").read_text(encoding="utf-8"))
    imports: list[ast.stmt] = [
        it for it in main.body if isinstance(it, ast.Import | ast.ImportFrom)
    ]
    loaded = loaded_modules(ast.unparse(ast.Module(imports, [])))
    assert "components.talos.cluster" in loaded
    assert not loaded & {"cryptography", "obstore", "aiohttp"}
