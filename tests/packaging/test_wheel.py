# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The wheel, built from the source distribution and installed into a fresh environment."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = Path(__file__).with_name("check_installed.py")


def run(*command, cwd):
    # Nothing of this environment may be seen by the fresh one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """Python of a fresh environment that has the wheel with all its extras."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[all]", cwd=folder)
    return python


@pytest.mark.xdist_group("wheel")
def test_hyperspy_finds_all_it_needs(fresh, tmp_path):
    output = run(fresh, CHECK, cwd=tmp_path)
    for other in ("exspy", "kikuchipy", "pyxem"):
        assert other in output


@pytest.mark.xdist_group("wheel")
def test_the_import_adds_one_name_and_nothing_heavy(fresh, tmp_path):
    code = """
import sys
import hyperspy.signal
before = set(dir(hyperspy.signal.BaseSignal))
import emsparse_hs
added = set(dir(hyperspy.signal.BaseSignal)) - before
assert added == {"emsparse"}, added
heavy = {"pyxem", "kikuchipy", "exspy", "etspy", "sklearn", "astra", "numba", "dask.array"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    run(fresh, "-c", code, cwd=tmp_path)


@pytest.mark.xdist_group("wheel")
def test_the_yaml_at_the_top_is_that_of_the_package():
    top, inside = ROOT / "hyperspy_extension.yaml", ROOT / "emsparse_hs/hyperspy_extension.yaml"
    # Where a checkout can't have symlinks, it is a text file that names its target.
    assert top.read_text() in (inside.read_text(), "emsparse_hs/hyperspy_extension.yaml")
