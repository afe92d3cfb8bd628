# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of the probabilities of the 14 Bravais lattices."""

from hyperspy.signals import LazySignal1D

from emsparse_hs.signals._bravais_probabilities import BravaisProbabilities


class LazyBravaisProbabilities(BravaisProbabilities, LazySignal1D):
    """Probabilities of the 14 Bravais lattices, computed when they are needed."""

    _signal_type = "bravais_probabilities"
