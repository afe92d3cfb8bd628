# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The version, in the one place that the build reads too."""

__version__ = "0.1.0.dev0"
