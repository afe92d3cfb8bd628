# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for spectrum images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs.accessor._base import SignalMethods

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.accessor._compositions import Compositions


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
            If there is no decomposition, it has negative spectra or maps, or the signal was
            cropped since.
        """
        from emsparse_hs.learning_results import check_decomposed

        signal, results = self._signal, self._signal.learning_results
        check_decomposed(signal)
        factors, loadings = np.asarray(results.factors), np.asarray(results.loadings)
        if min(np.nanmin(factors), np.nanmin(loadings)) < 0:
            raise ValueError(
                f"The decomposition by {results.decomposition_algorithm} has negative spectra or "
                "maps, which are no counts. Use one without, as s.emsparse.decomposition() makes."
            )
        spectra = self._as_spectra(np.nan_to_num(factors.T) * np.nansum(loadings, 0)[:, None])
        title = signal.metadata.get_item("General.title", default="")
        spectra.metadata.General.title = f"Components of {title}".strip()
        return spectra

    def _as_spectra(self, rows: np.ndarray) -> BaseSignal:
        """Spectra of any number with the axis, sample and instrument of the signal."""
        spectra = self._signal._get_factors(rows.T)
        if spectra._lazy:
            spectra.compute(show_progressbar=False)
        for node in ("Sample", "Acquisition_instrument"):
            if self._signal.metadata.has_item(node):
                spectra.metadata[node] = self._signal.metadata[node].deepcopy()
        return spectra

    def quantify_components(
        self,
        factors: Sequence[float] | Mapping[str, float],
        xray_lines: Iterable[str] | None = None,
        line_width: tuple[float, float] = (2.0, 2.0),
        without_lines: Iterable[str] | Mapping[int, Iterable[str]] | None = None,
        **kwargs,
    ) -> Compositions:
        """Composition of each component of an EDS map, by exSpy's Cliff-Lorimer quantification.

        Lines are integrated above the background on both sides of them, or beyond the lines next to
        them: those of the metadata count as well. Errors are those of Poisson noise in lines and
        backgrounds, of the component and of what is in the same pixels, for given loadings; neither
        those of the factors nor spectra that are not pure are in them.

        Parameters
        ----------
        factors : sequence of float, or mapping of str to float
            Cliff-Lorimer factors, in the order of the lines or by line, as in ``{"Fe_Ka": 1.3}``.
        xray_lines : iterable of str, optional
            Such as ``["Fe_Ka", "Si_Ka"]``, one an element. By default those that have factors by
            line, or else those of the metadata, or of the elements there, in alphabetical order.
        line_width : tuple of float
            Distance of the windows of the background from the line below and above, in widths of
            the line (FWHM); 1 or more, since the line is summed that far.
        without_lines : iterable of str, or mapping of int to such, optional
            Lines that do not count, such as ``["Cu_Ka"]`` of a grid; or only in some components,
            as in ``{1: ["Cu_Ka"]}``. The others add up to 100 %. They have factors all the same,
            and the background of their neighbours is sought beside them.
        **kwargs
            For exSpy's `quantification`, such as ``composition_units="weight"``.

        Returns
        -------
        Compositions
            List of signals, atomic percent of one element each, along the components, in the order
            of the lines; NaN where a line was left out, and of components in which no line is three
            standard errors above its background, or lines have nothing in sum above theirs; none of
            a line that was left out of all. It shows as a table, and has standard errors as
            ``errors``, right if data are counts.
            With absorption correction a pair of it and the mass thickness.

        Raises
        ------
        ValueError
            If the signal is no EDS map of a thin sample, there is no decomposition, it has negative
            spectra or maps, a line does not exist, is there twice or beyond the energy axis, an
            element has two lines, a line has no positive factor, there is one line alone, units
            are not known, a window of the background is beyond the energy axis or on the line, or a
            line or its background is in channels that were masked.

        Warns
        -----
        UserWarning
            If a component has no line that is seen, or a line is below the background that was
            estimated beside it by more than 1 % of what the others have, by noise, or since a line
            is there that the metadata don't know.
        """
        from emsparse_hs.accessor import _quantification as parts
        from emsparse_hs.accessor._line_windows import weights_of, windows_of
        from emsparse_hs.learning_results import left_out_channels

        spectra = self.component_spectra()
        if not hasattr(spectra, "quantification"):
            raise ValueError(parts.why_not_thin(self._signal))
        if xray_lines is None and isinstance(factors, Mapping):
            xray_lines = list(factors)
        lines = parts.checked_lines(spectra, xray_lines)
        loadings = np.asarray(self._signal.learning_results.loadings)
        kwargs = {"show_progressbar": False, **kwargs}
        factors = parts.factors_of(factors, lines)
        windows = windows_of(spectra, lines, line_width)
        left_out = parts.left_out_of(without_lines, lines, loadings.shape[1])
        units = self._as_spectra(np.eye(spectra.data.shape[-1], dtype=np.float32))
        masked = left_out_channels(self._signal)
        return parts.quantified(
            spectra,
            weights_of(units, lines, windows, left_out, masked),
            loadings[~np.isnan(loadings).any(1)],
            lines,
            factors,
            windows,
            left_out,
            **kwargs,
        )
