# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for spectrum images."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs.accessor._base import SignalMethods

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Percent below nothing that are not worth a warning.
_NOISE = 1.0


class SpectrumMethods(SignalMethods):
    """Methods for spectrum images: EDS, EELS, optical."""

    _kind = "spectra"
    _made_by = "Move the spectra to the signal axis with s.transpose(signal_axes=1)."

    def component_spectra(self) -> BaseSignal:
        """Spectrum of each component in counts, over all pixels.

        Of the same type as the signal, with what its metadata say of sample and instrument, so
        that its tools apply: lines, windows and quantification of exSpy, models, saving.

        Returns
        -------
        BaseSignal
            Of one navigation axis, the components. Channels that were left out are 0.

        Raises
        ------
        ValueError
            If there is no decomposition.
        """
        signal, results = self._signal, self._signal.learning_results
        if results.factors is None or results.loadings is None:
            raise ValueError(
                f"{signal!r} has no decomposition. Run s.emsparse.decomposition(output_dimension=3)"
                " or s.decomposition(...) before."
            )
        spectra = signal.get_decomposition_factors()
        counts = np.nansum(results.loadings, 0)
        spectra.data = np.nan_to_num(results.factors.T) * counts[:, None]
        for node in ("Sample", "Acquisition_instrument"):
            if signal.metadata.has_item(node):
                spectra.metadata[node] = signal.metadata[node].deepcopy()
        title = signal.metadata.get_item("General.title", default="")
        spectra.metadata.General.title = f"Components of {title}".strip()
        return spectra

    def quantify_components(
        self,
        factors,
        xray_lines=None,
        line_width: tuple[float, float] = (2.0, 2.0),
        **kwargs,
    ) -> list[BaseSignal]:
        """Composition of each component of an EDS map, by exSpy's Cliff-Lorimer quantification.

        Lines are integrated above the background on both sides of them.

        Parameters
        ----------
        factors : sequence of float
            Cliff-Lorimer factors, in the order of the lines.
        xray_lines : sequence of str, optional
            Such as ``["Fe_Ka", "Si_Ka"]``. By default those of the metadata, or of the elements
            there, in alphabetical order.
        line_width : tuple of float
            Distance of the windows of the background from the line below and above, in widths of
            the line.
        **kwargs
            For exSpy's `quantification`, such as ``composition_units="weight"``.

        Returns
        -------
        list of BaseSignal
            Atomic percent of one element each, along the components, in the order of the lines.

        Raises
        ------
        ValueError
            If the signal is no EDS map of a thin sample, there is no decomposition, factors are not
            as many as lines, or a window of the background is beyond the energy axis.

        Warns
        -----
        UserWarning
            If there is less than -1 % of an element: its line is below the background that was
            estimated beside it, by noise, or since another line is there.
        """
        spectra = self.component_spectra()
        if not hasattr(spectra, "quantification"):
            raise ValueError(
                f"{self._signal!r} is no EDS map of a thin sample, for which Cliff-Lorimer factors "
                "are. If it is one, install exspy and use s.set_signal_type('EDS_TEM')."
            )
        # exSpy leaves out lines beyond the energy axis, and windows must be those of the others.
        found = spectra.get_lines_intensity(xray_lines)
        lines = [line.metadata.Sample.xray_lines[0] for line in found]
        if len(factors) != len(lines):
            raise ValueError(
                f"There are {len(factors)} factors for the {len(lines)} lines {lines}, in this "
                "order. Lines beyond the energy axis are not among them."
            )
        windows = spectra.estimate_background_windows(list(line_width), xray_lines=lines)
        axis = spectra.axes_manager.signal_axes[0]
        for line, window in zip(lines, windows, strict=True):
            if window.min() < axis.low_value or window.max() > axis.high_value:
                raise ValueError(
                    f"The background of {line} is looked for from {window.min():.3f} to "
                    f"{window.max():.3f} {axis.units}, which is beyond the energy axis. Pass a "
                    f"smaller line_width than {line_width}, or xray_lines without this one."
                )
        intensities = spectra.get_lines_intensity(lines, background_windows=windows)
        # Components are no pixels: none of them is vacuum.
        kwargs = {"show_progressbar": False, "navigation_mask": None, **kwargs}
        found = spectra.quantification(intensities, method="CL", factors=factors, **kwargs)
        _warn_of_negative(found if isinstance(found, list) else found[0], lines)
        return found


def _warn_of_negative(compositions: list[BaseSignal], lines: list[str]) -> None:
    """Say which components have less than nothing of which line's element."""
    negative = [
        f"{line} in component {k}: {share:.2g} %"
        for line, composition in zip(lines, compositions, strict=True)
        for k, share in enumerate(np.ravel(composition.data))
        if share < -_NOISE
    ]
    if negative:
        warnings.warn(
            "Lines are below the background beside them, and so are parts of the compositions ("
            f"{'; '.join(negative)}). Leave these lines out with xray_lines, or pass another "
            "line_width if a line of another element is in the background.",
            stacklevel=3,
        )
