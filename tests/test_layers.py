# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Three layers with arrows only downward, and a licence header in every file."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emsparse_hs"
NUMERICS = ("decomposition", "stem4d", "unit_cell", "ebsd", "tomography", "electron.py")
FACE = ("accessor", "signals", "plotting")
#: What numerics may import beside the standard library and each other.
LIBRARIES = {"joblib", "lazy_loader", "numba", "numpy", "scipy", "sklearn"}
HELPERS = {"_optional", "_tables", "_vector_rows", "_vectors"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Names of modules that a file imports anywhere, also inside functions."""
    package = ("emsparse_hs", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, node.module or "")).rstrip(".")
            # A name may be a module.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer(name):
    return name.split(".")[1] if name.startswith("emsparse_hs.") else name.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_downward(path):
    area = path.relative_to(PACKAGE).parts[0]
    needs = {layer(name) for name in imported(path)}
    if area in NUMERICS:
        numerics = {name.removesuffix(".py") for name in NUMERICS}
        assert needs <= LIBRARIES | HELPERS | numerics | sys.stdlib_module_names
    elif area not in FACE and area not in ("data", "__init__.py"):
        assert not needs & set(FACE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_licence_header(path):
    header = path.read_text(encoding="utf-8").splitlines()[:2]
    assert header[0] == "# Copyright 2026 The emsparse_hs developers"
    assert "GPL-3.0-or-later" in header[1]


@pytest.mark.parametrize("line", ["from emsparse_hs import blocks", "from .. import blocks"])
def test_a_module_is_seen_in_every_way_to_import_it(line, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    path = tmp_path / "decomposition" / "module.py"
    path.parent.mkdir()
    path.write_text(line)
    assert {layer(name) for name in imported(path)} == {"blocks"}
