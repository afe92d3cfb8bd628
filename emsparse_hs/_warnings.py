# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Warnings that point at the line of the user's that they are about."""

from __future__ import annotations

import sys
import warnings

#: Packages whose lines are not the user's: this one, and those that call it.
_NOT_THE_USER = {"emsparse_hs", "hyperspy", "sklearn", "joblib", "dask", "concurrent", "threading"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line that is in no library.

    Parameters
    ----------
    message : str
        What it says.
    category : type
        Kind of the warning.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_THE_USER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
