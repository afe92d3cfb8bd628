# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The code in the README runs as it stands there."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_the_readme_runs(tmp_path, monkeypatch):
    for package in ("exspy", "pyxem", "kikuchipy"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    plt.close("all")
    assert names["tomogram"].metadata.Reconstruction.gap < 1
    assert (tmp_path / "phases.hspy").is_file()
