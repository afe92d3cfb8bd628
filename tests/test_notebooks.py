# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The notebooks run as they stand, and what is stored in them can be shown to anybody."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = [
    "spectrum_image",
    "electric_field",
    "kikuchi_bands",
    "bravais_lattice",
    "tomogram",
    "unit_cells",
]

#: What a notebook needs beyond what is always there.
NEEDED = {
    "spectrum_image": "exspy",
    "electric_field": "pyxem",
    "kikuchi_bands": "kikuchipy",
    "bravais_lattice": "kikuchipy",
    "tomogram": "hyperspy",
    "unit_cells": "pyxem",
}

#: Folders of a machine, as they show in paths and in locations of warnings.
PATHS = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|usr|opt|private|var)/|[A-Z]:\\|-packages")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """All text of a cell's outputs; figures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        data = output.get("data", {})
        yield from (str(value) for kind, value in data.items() if kind.startswith("text/"))


def test_each_notebook_is_tested():
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_runs(name, tmp_path):
    pytest.importorskip(NEEDED[name])
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(read(name), timeout=300, resources=where).execute()


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs(name):
    cells = code_cells(read(name))
    outputs = [output for cell in cells for output in cell.outputs]
    # Run from the top, in order: nothing was edited afterwards.
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    # All but the first cell, which imports, show something.
    assert all(cell.outputs for cell in cells[1:])
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_this_machine(name):
    notebook = read(name)
    for cell in code_cells(notebook):
        for text in [cell.source, *texts(cell)]:
            assert "Traceback" not in text
            assert not PATHS.search(text)


@pytest.mark.parametrize("name", NAMES)
def test_size(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 700_000
