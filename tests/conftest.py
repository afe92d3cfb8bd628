# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Example files for tests, and a word at the end on tests that went without theirs."""

import re
import subprocess
import sys
from collections import Counter

import numba
import pytest

from emsparse_hs.data import path

_guvectorize = numba.guvectorize


def _guvectorize_afresh(*args, **options):
    """numba's decorator without its cache.

    Generalised functions that orix takes from numba's cache sometimes end in a segmentation fault.
    Each worker compiles its own.
    """
    return _guvectorize(*args, **options | {"cache": False})


numba.guvectorize = _guvectorize_afresh

MISSING = "{} is not here; set EMSPARSE_HS_DATA"


def pytest_configure(config):
    """Let one process alone compile what orix compiles when it is first imported.

    Notebooks and other processes of tests that do so at the same time, in a fresh environment, mix
    up numba's cache, and every later import ends in a segmentation fault.
    """
    if not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-c", "import orix.quaternion"], capture_output=True)


@pytest.fixture(scope="session")
def example():
    """Function from the name of an example file to its path; skips the test if it is not here.

    Nothing is downloaded. A file that is here with another content is an error, not a reason to
    skip.
    """

    def find(name):
        try:
            return path(name, download=False)
        except FileNotFoundError:
            pytest.skip(MISSING.format(name))

    return find


def pytest_terminal_summary(terminalreporter):
    # Reports, unlike anything a test could count, come back from the workers of pytest-xdist.
    pattern = re.escape(MISSING).replace(r"\{\}", r"(\S+)")
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    found = [re.search(pattern, reason) for reason in reasons]
    counts = Counter(match[1] for match in found if match)
    if counts:
        files = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        terminalreporter.section("missing example files")
        terminalreporter.write_line(
            f"{counts.total()} tests were skipped since {len(counts)} example files are not here "
            f"(set EMSPARSE_HS_DATA): {files}"
        )
