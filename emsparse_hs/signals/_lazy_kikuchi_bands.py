# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of Kikuchi bands."""

from hyperspy.signals import LazySignal2D

from emsparse_hs.signals._kikuchi_bands import KikuchiBands


class LazyKikuchiBands(KikuchiBands, LazySignal2D):
    """Kikuchi bands of each pattern of a scan, computed when they are needed."""

    _signal_type = "kikuchi_bands"
