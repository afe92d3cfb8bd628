# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Sparsity for big electron-microscopy data, as a HyperSpy extension.

Importing this package adds one attribute, ``emsparse``, to HyperSpy's signals and nothing else.
Everything heavy is imported when it is first used.
"""

import lazy_loader

from emsparse_hs._version import __version__  # noqa: F401
from emsparse_hs.accessor import register

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register()
del register, lazy_loader
