# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A tomogram that is read or computed when it is needed."""

from hyperspy.signals import LazySignal2D

from emsparse_hs.signals._tomogram import Tomogram


class LazyTomogram(Tomogram, LazySignal2D):
    """Lazy twin of `Tomogram`."""
