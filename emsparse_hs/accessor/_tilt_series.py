# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for tilt series, also for those of etspy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emsparse_hs.accessor._base import SignalMethods

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from numpy.typing import ArrayLike

    from emsparse_hs.signals import TiltSeries, Tomogram
    from emsparse_hs.signals._tilt_score import TiltScore


class TiltSeriesMethods(SignalMethods):
    """Methods for tilt series: `TiltSeries`, or a TomoStack of etspy."""

    _kind = "tilt series"
    _made_by = "Make it one with s.set_signal_type('tilt_series') and s.set_tilts(angles)."

    def as_tilt_series(self, tilts: ArrayLike | None = None) -> TiltSeries:
        """Return the images as `TiltSeries`, with the data shared and the signal left as it is.

        Parameters
        ----------
        tilts : array of shape (tilt,), optional
            In degrees. Those of a `TiltSeries`, or those that etspy stored, by default. Of two
            navigation axes they are for the one called "Tilt", or else of that length.

        Returns
        -------
        TiltSeries
            Lazy if the signal is. The signal itself if it is one and no tilts are given.

        Raises
        ------
        ValueError
            If the tilts are not known, or can't be those of the images.
        """
        return as_tilt_series(self._signal, tilts)

    def reconstruct(self, prior: str = "tv", **kwargs) -> Tomogram:
        """Reconstruct the volume, as the method of that name of `TiltSeries` does.

        Parameters
        ----------
        prior : {"tv", "huber", "tgv", "wavelet", "identity"}
            What the volume is expected to have little of.
        **kwargs
            As for `TiltSeries.reconstruct`.

        Returns
        -------
        Tomogram
            As from `TiltSeries.reconstruct`.

        Raises
        ------
        ValueError
            If the tilts are not known or all zero, as those of etspy's files are when `hs.load`
            opened them, or as `TiltSeries.reconstruct` does.
        """
        return self.as_tilt_series().reconstruct(prior, **kwargs)

    def score_tilts(self, step: int = 5, method: str = "tv", **kwargs) -> TiltScore:
        """Leave out tilts and predict them, as the method of that name of `TiltSeries` does.

        Parameters
        ----------
        step : int, optional
            One in so many tilts is left out.
        method : {"tv", "huber", "tgv", "wavelet", "identity", "wbp", "sirt"}, optional
            Prior or method.
        **kwargs
            As for `TiltSeries.score_tilts`.

        Returns
        -------
        TiltScore
            As from `TiltSeries.score_tilts`.
        """
        return self.as_tilt_series().score_tilts(step, method, **kwargs)


def as_tilt_series(signal: BaseSignal, tilts: ArrayLike | None) -> TiltSeries:
    """Images as `TiltSeries`; see `TiltSeriesMethods.as_tilt_series`."""
    from emsparse_hs.signals import LazyTiltSeries, TiltSeries
    from emsparse_hs.signals._provenance import kept_metadata
    from emsparse_hs.signals._tilt_axis import read_tilts

    if isinstance(signal, TiltSeries) and tilts is None:
        return signal
    # Read first: a TomoStack loses its tilts when it is copied or converted.
    tilts, _ = read_tilts(signal, tilts)
    series = (LazyTiltSeries if signal._lazy else TiltSeries)(
        signal._data_aligned_with_axes,
        axes=[axis.get_axis_dictionary() for axis in signal.axes_manager._axes],
        metadata=kept_metadata(signal),
    )
    series.set_tilts(tilts, getattr(signal, "tilt_axis", None))
    return series
