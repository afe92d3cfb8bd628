# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of Kikuchi bands: patterns as short lists of planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal2D

from emsparse_hs.ebsd.lattice import CENTRE_ERROR, MOST_PATTERNS, WIDTH_SCALE

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from matplotlib.figure import Figure, SubFigure
    from orix.crystal_map import Phase

    from emsparse_hs.signals import BravaisProbabilities, PhaseLattice

#: What is known of each band, in the order of the axis "quantity".
_QUANTITIES = ("normal x", "normal y", "normal z", "half width", "contrast")
#: Their standard errors, which bands that were made otherwise need not have.
_SIGMAS = ("direction sigma", "width sigma")
#: Appended where each pattern has its own pattern centre.
_CENTRE_QUANTITIES = ("PCx", "PCy", "PCz")
#: Sizes of the axis "quantity": where all patterns share a centre, and where each has its own.
_ONE_CENTRE = (len(_QUANTITIES), len(_QUANTITIES + _SIGMAS))
_OWN_CENTRES = tuple(n + len(_CENTRE_QUANTITIES) for n in _ONE_CENTRE)


class KikuchiBands(Signal2D):
    """Kikuchi bands of each pattern of a scan, the highest contrast first.

    The data have the shape (..., n_bands, 7): the scan, the bands, and of each band the x, y and z
    of its unit normal in the detector's frame (`emsparse_hs.ebsd.geometry`), its half width in
    degrees, its contrast, and the standard errors of direction in degrees and of width, relative,
    see `emsparse_hs.ebsd.bands`; the last two may be left out of bands made otherwise. NaN where a
    pattern has fewer bands; one without any has the contrast 0 in the first place, one that was
    left out NaN everywhere.
    Three columns follow with PCx, PCy and PCz if the patterns' centres differ; they are then cut
    and saved with the rest. A centre that all patterns share is in
    ``metadata.Kikuchi_bands.pattern_centre``.
    """

    _signal_type = "kikuchi_bands"

    @property
    def normals(self):
        """Unit normals of the bands' planes in the detector's frame, shape (..., n_bands, 3)."""
        return self._columns(0, 3)

    @property
    def half_widths(self):
        """Half widths in degrees, shape (..., n_bands)."""
        return self._columns(3, 4)[..., 0]

    @property
    def contrasts(self):
        """Contrasts, in standard errors, shape (..., n_bands).

        No z-scores: bands are where they are high, see `emsparse_hs.ebsd.bands.detect_bands`.
        """
        return self._columns(4, 5)[..., 0]

    @property
    def direction_sigmas(self):
        """Standard errors of the normals in degrees, shape (..., n_bands).

        Root mean square angle to where a normal should be, without what the pattern centre is
        wrong by; ValueError if the bands were made without. See
        `emsparse_hs.ebsd.bands.detect_bands`.
        """
        return self._sigmas(0)

    @property
    def width_sigmas(self):
        """Standard errors of the half widths, relative, shape (..., n_bands).

        ValueError if the bands were made without, see `direction_sigmas`.
        """
        return self._sigmas(1)

    @property
    def pattern_centre(self):
        """Pattern centre in Bruker's convention.

        Of shape (3,) if all patterns share it, of shape (..., 3) if each has its own.
        """
        every = self._n_quantities
        if every in _OWN_CENTRES:
            return self._columns(every - len(_CENTRE_QUANTITIES), every)[..., 0, :]
        return np.array(self.metadata.Kikuchi_bands.pattern_centre, dtype=float)

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """Height and width in px of the patterns that the bands were found in."""
        height, width = self.metadata.Kikuchi_bands.pattern_shape
        return int(height), int(width)

    def plot_on(self, patterns: BaseSignal, n_bands: int | None = None) -> Figure | SubFigure:
        """Draw the bands on the pattern at which the patterns' navigator stands.

        Parameters
        ----------
        patterns : BaseSignal
            The scan that the bands were found in, or the pattern if there is only one.
        n_bands : int, optional
            Draw so many, the highest contrast first. All by default.

        Returns
        -------
        Figure
            See `emsparse_hs.plotting.plot_bands`.

        Raises
        ------
        ValueError
            If the scans or the patterns differ in shape, or `n_bands` is below 1.
        """
        from emsparse_hs.plotting import plot_bands

        scan = patterns.axes_manager.navigation_shape
        if scan != self.axes_manager.navigation_shape:
            raise ValueError(
                f"The patterns' scan has the shape {scan}, the bands' has "
                f"{self.axes_manager.navigation_shape}. Pass the patterns that the bands are of."
            )
        if not scan:
            return plot_bands(patterns, self, n_bands=n_bands)
        place = patterns.axes_manager.indices
        return plot_bands(patterns.inav[place], self.inav[place], n_bands=n_bands)

    def cluster_patterns(
        self,
        *,
        beam_energy: float | None = None,
        width_scale: float = WIDTH_SCALE,
        centre_error: float = CENTRE_ERROR,
        max_patterns: int = MOST_PATTERNS,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> np.ndarray:
        """Group the patterns into phases by the cells that explain their bands.

        Parameters
        ----------
        beam_energy, width_scale, centre_error
            See `estimate_lattice`.
        max_patterns : int
            Cells are looked for in so many patterns at most, evenly spread: raise it for phases
            that are rare.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        int64 array of the scan's shape
            Labels for `estimate_lattice` and `classify_bravais`: 0 for patterns of the most
            frequent phase, and so on; -1 where a pattern has too few bands, or no cell explains
            them. Phases whose cells are nearly the same are one, see
            `emsparse_hs.ebsd.cluster_patterns`.

        Raises
        ------
        ValueError
            If the beam energy is not known.
        """
        from emsparse_hs.signals._lattices import pattern_labels

        options = {
            "width_scale": width_scale,
            "centre_error": centre_error,
            "max_patterns": max_patterns,
        }
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        return pattern_labels(self, beam_energy, options, **how)

    def estimate_lattice(
        self,
        labels=0,
        *,
        beam_energy: float | None = None,
        width_scale: float = WIDTH_SCALE,
        centre_error: float = CENTRE_ERROR,
        max_patterns: int = MOST_PATTERNS,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> PhaseLattice | dict[int, PhaseLattice]:
        """Find the unit cell of an unknown phase, jointly from all of its patterns.

        Cells are found from the 30 strongest bands of a pattern and superlattices from all: detect
        60, where the default is 12.

        Parameters
        ----------
        labels : int or int array of the scan's shape
            Phase of each pattern, negative where one is left out. By default all patterns are of
            one phase.
        beam_energy : float, optional
            In keV. That of ``metadata.Acquisition_instrument.SEM.beam_energy`` by default.
        width_scale : float
            Bragg angle over half width, which scales all lengths; best found from a known phase.
            The default is the median of patterns that were simulated dynamically.
        centre_error : float
            Standard deviation of the pattern centres' errors, over the distance of the screen:
            centres are refined within it.
        max_patterns : int
            A cell is found from so many patterns at most, evenly spread; all are oriented.
        show_progressbar, num_workers
            As in HyperSpy. Labels are solved side by side, on this machine's threads.

        Returns
        -------
        PhaseLattice or dict
            One for each label; only that if `labels` is one number. Patterns that were left out
            when bands were detected belong to none. See `emsparse_hs.ebsd.solve_lattice` for the
            method.

        Raises
        ------
        ValueError
            If the beam energy is not known, or labels don't fit.
        TypeError
            If labels are not whole numbers.
        """
        from emsparse_hs.signals._lattices import find_lattices

        options = {
            "width_scale": width_scale,
            "centre_error": centre_error,
            "max_patterns": max_patterns,
        }
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        return find_lattices(self, labels, beam_energy, options, None, **how)

    def classify_bravais(
        self,
        labels=None,
        *,
        beam_energy: float | None = None,
        width_scale: float = WIDTH_SCALE,
        centre_error: float = CENTRE_ERROR,
        max_patterns: int = MOST_PATTERNS,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> BravaisProbabilities:
        """Find which of the 14 Bravais lattices each pattern shows, with probabilities.

        Parameters
        ----------
        labels : int or int array of the scan's shape, optional
            Phase of each pattern, negative where one is left out: patterns of one label are solved
            together and get the same probabilities. By default each pattern is solved on its own.
        beam_energy, width_scale, centre_error, max_patterns
            See `estimate_lattice`.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet, for patterns on their own. As the signal is, by default.

        Returns
        -------
        BravaisProbabilities
            15 numbers for each pattern: the 14 lattices, and 'unknown'.

        Raises
        ------
        ValueError
            If the beam energy is not known, or labels don't fit.
        TypeError
            If labels are not whole numbers.
        """
        from emsparse_hs.signals._lattices import classify

        return classify(
            self,
            labels,
            beam_energy,
            {
                "width_scale": width_scale,
                "centre_error": centre_error,
                "max_patterns": max_patterns,
            },
            lazy_output=self._lazy if lazy_output is None else lazy_output,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )

    def compare_phases(
        self,
        phases: Sequence[Phase] | Mapping[int, Phase],
        *,
        beam_energy: float | None = None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> np.ndarray:
        """How well each of some known phases explains each pattern.

        Parameters
        ----------
        phases : sequence or dict of orix.crystal_map.Phase
            With space group and cell in angstrom. A cell with an edge below 1.5 is taken as in nm,
            such as those of kikuchipy's own phases.
        beam_energy : float, optional
            In keV. That of ``metadata.Acquisition_instrument.SEM.beam_energy`` by default.
        show_progressbar, num_workers
            As in HyperSpy. Patterns are compared side by side, on this machine's threads.

        Returns
        -------
        float64 array of shape (..., n_phases)
            Log evidence per band in nats, see `emsparse_hs.ebsd.compare_cells`: ``argmax(-1)`` is
            the best phase. NaN where a pattern has too few bands. In the order of the phases; of a
            PhaseList what is not indexed is left out. Phases that differ in size only, even by a
            tenth, score nearly alike, since widths tell no lengths so well.

        Raises
        ------
        ValueError
            If the beam energy, a space group or a cell is not known, or a cell is in neither
            unit.
        TypeError
            If something is no phase.
        """
        from emsparse_hs.signals._lattices import phase_scores

        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        return phase_scores(self, phases, beam_energy, **how)

    def _sigmas(self, which: int):
        """One of the standard errors."""
        if self._n_quantities in (_ONE_CENTRE[0], _OWN_CENTRES[0]):
            raise ValueError(
                "These bands were made without standard errors. s.emsparse.detect_bands() finds "
                "bands with them."
            )
        place = len(_QUANTITIES) + which
        return self._columns(place, place + 1)[..., 0]

    @property
    def _n_quantities(self) -> int:
        """Size of the axis "quantity" when it is whole; as it is, where nothing says so."""
        size = self._data_aligned_with_axes.shape[-1]
        return self.metadata.get_item("Kikuchi_bands.n_quantities", default=size)

    def _columns(self, first: int, last: int):
        """Some of the quantities, whatever was done to the order and number of bands."""
        data = self._data_aligned_with_axes
        quantity, size = self.axes_manager.signal_axes[0], self._n_quantities
        complete = data.shape[-1] == size and size in (*_ONE_CENTRE, *_OWN_CENTRES)
        if quantity.name != "quantity" or not complete:
            raise ValueError(
                f"The first signal axis is {quantity.name!r} of size {data.shape[-1]}, and must be "
                f"'quantity' with all of {_QUANTITIES} and what follows. Choose bands with "
                "s.isig[:, :n], and leave the first signal axis whole."
            )
        return data[..., first:last]
