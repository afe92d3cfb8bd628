# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of magnetic induction."""

from hyperspy.signals import LazySignal1D

from emsparse_hs.signals._magnetic_induction import MagneticInduction


class LazyMagneticInduction(MagneticInduction, LazySignal1D):
    """Magnetic induction in the plane of the specimen, computed when it is needed."""

    _signal_type = "magnetic_induction"
