# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lazy signal class of the deflection of the beam."""

from hyperspy.signals import LazySignal1D

from emsparse_hs._computing import persist
from emsparse_hs.signals._beam_deflection import BeamDeflection


class LazyBeamDeflection(BeamDeflection, LazySignal1D):
    """Deflection of the beam at each position of the scan, computed when it is needed."""

    _signal_type = "beam_deflection"

    def compute(self, close_file=False, show_progressbar=None, **kwargs):
        """Compute deflection and standard deviation together, with one pass over the frames.

        Parameters
        ----------
        close_file, show_progressbar, **kwargs
            As for HyperSpy's `compute`.
        """
        variance = self.get_noise_variance()
        if getattr(variance, "_lazy", False):
            num_workers = kwargs.get("num_workers")
            self.data, variance.data = persist(
                (self.data, variance.data), show_progressbar, num_workers
            )
            variance.compute(show_progressbar=False, **kwargs)
            show_progressbar = False
        super().compute(close_file=close_file, show_progressbar=show_progressbar, **kwargs)

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
