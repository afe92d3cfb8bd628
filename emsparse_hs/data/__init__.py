# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Example data, measured and simulated.

Three sets of measured data and six simulated ones are signals at once, such as
``spectrum_image()``; ``names()`` lists all files that can be had, and ``path(name)`` gets one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
