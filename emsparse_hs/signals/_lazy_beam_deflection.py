# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of the deflection of the beam."""

from hyperspy.signals import LazySignal1D

from emsparse_hs.signals._beam_deflection import BeamDeflection


class LazyBeamDeflection(BeamDeflection, LazySignal1D):
    """Deflection of the beam at each position of the scan, computed when it is needed."""

    _signal_type = "beam_deflection"

    def plot(self, **kwargs):
        """Plot the components as pyxem does, computed for that: they are small beside the frames.

        Parameters
        ----------
        **kwargs
            For `pyxem.signals.DiffractionVectors1D.plot`.
        """
        computed = self.deepcopy()
        computed.compute(close_file=False, show_progressbar=False)
        return computed.plot(**kwargs)
