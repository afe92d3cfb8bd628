# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of electric fields."""

from hyperspy.signals import LazySignal1D

from emsparse_hs.signals._electric_field import ElectricField


class LazyElectricField(ElectricField, LazySignal1D):
    """Electric field in the plane of the specimen, computed when it is needed."""

    _signal_type = "electric_field"
