# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Packages that only one kind of data needs, imported when they are used."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without doing so."""
    return find_spec(package) is not None


def require(module: str, extra: str | None) -> ModuleType:
    """Import an optional module, or say what installs it.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"pyxem.signals"``.
    extra : str or None
        Name of the extra of emsparse-hs that installs it; None if it is installed by itself.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        # A package that is there but lacks one of its own needs must say so itself.
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        wanted = package if extra is None else f'"emsparse-hs[{extra}]"'
        raise ImportError(
            f"This needs the package {package}, which is not installed. "
            f"Install it with: pip install {wanted}"
        ) from error
