# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for EBSD patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal2D

from emsparse_hs._masks import as_mask
from emsparse_hs.accessor._base import SignalMethods, frame_shape
from emsparse_hs.accessor._ebsd_results import as_bands, as_radon
from emsparse_hs.accessor._ebsd_rows import (
    band_rows,
    blocks_of,
    pattern_centres_of,
    radon_rows,
)
from emsparse_hs.ebsd.bands import MIN_CONTRAST, N_QUANTITIES, check_wanted
from emsparse_hs.ebsd.lattice import CENTRE_ERROR, MOST_PATTERNS, WIDTH_SCALE
from emsparse_hs.ebsd.radon import STEP, radon_angles
from emsparse_hs.signals._crystal_maps import as_crystal_map
from emsparse_hs.signals._lattices import (
    PatternSource,
    as_labels,
    checked_beam_energy,
    classify,
    find_lattices,
)

if TYPE_CHECKING:
    from orix.crystal_map import CrystalMap, Phase

    from emsparse_hs.signals import BravaisProbabilities, KikuchiBands, PhaseLattice

#: Bands from which a lattice is found, if so many reach the contrast: the weak tell superlattices.
N_BANDS = 60


class EBSDMethods(SignalMethods):
    """Methods for EBSD patterns: kikuchipy's signals, or any of two signal axes."""

    _kind = "EBSD patterns"
    _made_by = 'Install kikuchipy and use s.set_signal_type("EBSD").'

    def radon(
        self,
        pattern_centre=None,
        *,
        step: float = STEP,
        navigation_mask=None,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> Signal2D:
        """Radon transform along great circles, in which bands are points.

        Parameters
        ----------
        pattern_centre : array of shape (3,) or (..., 3), or kikuchipy's detector, optional
            In Bruker's convention, one for all patterns or one each in the order of the data.
            That of ``s.detector`` by default.
        step : float
            Of both angles in degrees; that of the azimuth is the nearest part of 180.
        navigation_mask : BaseSignal or bool array of the scan's shape (y, x), optional
            True where patterns are left out: the transform is NaN there.
        signal_mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is left out, such as outside a round screen, whose rim
            makes bands otherwise. Pixels that are not finite are left out of their own pattern.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.

        Returns
        -------
        Signal2D
            Over azimuth (from 0 to 180 degrees) and elevation (in degrees), see
            `emsparse_hs.ebsd.radon.radon_transform`. NaN where a great circle meets no pixel.

        Raises
        ------
        ValueError
            If the pattern centre is not known or does not fit, or a mask does not fit.
        TypeError
            If the data are complex or ragged.
        """
        centres = pattern_centres_of(self._signal, pattern_centre)
        shape = frame_shape(self._signal)
        azimuths, elevations = radon_angles(shape, centres.reshape(-1, 3), step)
        data = self._map(
            radon_rows,
            centres,
            (azimuths, elevations),
            (navigation_mask, signal_mask),
            output_shape=(elevations.size, azimuths.size),
            dtype=np.float32,
            lazy_output=self._signal._lazy if lazy_output is None else lazy_output,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
        return as_radon(self._signal, data, centres, azimuths, elevations)

    def detect_bands(
        self,
        n_bands: int = 12,
        pattern_centre=None,
        *,
        min_contrast: float = MIN_CONTRAST,
        navigation_mask=None,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> KikuchiBands:
        """Find the Kikuchi bands of each pattern: normals, half widths, contrasts, sigmas.

        A static background, which all patterns share, is better removed before: with kikuchipy,
        ``s.remove_static_background()``. The broad background of each pattern is removed here.

        Parameters
        ----------
        n_bands : int
            Bands to find in each pattern. Ask for 60 to find lattices from them.
        pattern_centre : array of shape (3,) or (..., 3), or kikuchipy's detector, optional
            In Bruker's convention, one for all patterns or one each in the order of the data.
            That of ``s.detector`` by default. It should be right to 0.5 %.
        min_contrast : float
            Contrast that a band needs: where fewer bands have it, the rest is NaN. Noise alone has
            about one band a pattern above the default, and hardly any above 5.
        navigation_mask : BaseSignal or bool array of the scan's shape (y, x), optional
            True where patterns are left out: their bands are NaN, also the contrast, which is 0 in
            the first place of a pattern without bands.
        signal_mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is left out, such as outside a round screen, whose rim
            makes bands otherwise. Pixels that are not finite are left out of their own pattern.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.

        Returns
        -------
        KikuchiBands
            See `emsparse_hs.ebsd.bands.detect_bands` for the method.

        Raises
        ------
        ValueError
            If the pattern centre is not known or does not fit, `n_bands` is below 1,
            `min_contrast` below 0, or a mask does not fit.
        TypeError
            If the data are complex or ragged, or `n_bands` is not whole.
        """
        check_wanted(n_bands, min_contrast)
        frame_shape(self._signal)
        centres = pattern_centres_of(self._signal, pattern_centre)
        data = self._map(
            band_rows,
            centres,
            (n_bands, min_contrast),
            (navigation_mask, signal_mask),
            output_shape=(n_bands, N_QUANTITIES + (3 if centres.ndim > 1 else 0)),
            dtype=np.float64,
            lazy_output=self._signal._lazy if lazy_output is None else lazy_output,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
        return as_bands(self._signal, data, centres)

    def estimate_lattice(
        self,
        labels=0,
        pattern_centre=None,
        *,
        beam_energy: float | None = None,
        n_bands: int = N_BANDS,
        min_contrast: float = MIN_CONTRAST,
        width_scale: float = WIDTH_SCALE,
        centre_error: float = CENTRE_ERROR,
        max_patterns: int = MOST_PATTERNS,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> PhaseLattice | dict[int, PhaseLattice]:
        """Find the unit cell of an unknown phase, jointly from all of its patterns.

        As ``s.emsparse.detect_bands(60).estimate_lattice(labels)``, and bands too weak to be found
        are looked for in all patterns together, if at least 4 differ in orientation; see
        `emsparse_hs.ebsd.pooled_contrast`.

        Parameters
        ----------
        labels : int or int array of the scan's shape
            Phase of each pattern, negative where one is left out. By default all patterns are of
            one phase.
        pattern_centre, n_bands, min_contrast, signal_mask
            See `detect_bands`.
        beam_energy : float, optional
            In keV. That of ``metadata.Acquisition_instrument.SEM.beam_energy`` by default.
        width_scale : float
            Bragg angle over half width, which scales all lengths; best found from a known phase.
            The default is the median of patterns that were simulated dynamically.
        centre_error : float
            Standard deviation of the pattern centres' errors, over the distance of the screen.
        max_patterns : int
            A cell is found from so many patterns at most, evenly spread; all are oriented.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        PhaseLattice or dict
            One for each label; only that if `labels` is one number.

        Raises
        ------
        ValueError
            If the pattern centre or the beam energy is not known, or labels don't fit.
        TypeError
            If labels are not whole numbers, or the data are complex or ragged.
        """
        energy = checked_beam_energy(self._signal, beam_energy)
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        bands = self._bands_for(
            labels, n_bands, pattern_centre, min_contrast, signal_mask, False, **how
        )
        options = {
            "width_scale": width_scale,
            "centre_error": centre_error,
            "max_patterns": max_patterns,
        }
        source = self._source(pattern_centre, signal_mask, num_workers)
        return find_lattices(bands, labels, energy, options, source, **how)

    def classify_bravais(
        self,
        labels=None,
        pattern_centre=None,
        *,
        beam_energy: float | None = None,
        n_bands: int = N_BANDS,
        min_contrast: float = MIN_CONTRAST,
        width_scale: float = WIDTH_SCALE,
        centre_error: float = CENTRE_ERROR,
        max_patterns: int = MOST_PATTERNS,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> BravaisProbabilities:
        """Find which of the 14 Bravais lattices each pattern shows, with probabilities.

        As ``s.emsparse.detect_bands(60).classify_bravais(labels)``; with labels bands too weak to
        be found are looked for in all patterns together, see `estimate_lattice`.

        Parameters
        ----------
        labels : int or int array of the scan's shape, optional
            Phase of each pattern, negative where one is left out: patterns of one label are solved
            together, which is right far more often. By default each pattern is solved on its own.
        pattern_centre, n_bands, min_contrast, signal_mask
            See `detect_bands`.
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
            If the pattern centre or the beam energy is not known, or labels don't fit.
        TypeError
            If labels are not whole numbers, or the data are complex or ragged.
        """
        energy = checked_beam_energy(self._signal, beam_energy)
        lazy = self._signal._lazy if lazy_output is None else lazy_output
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        bands = self._bands_for(
            labels, n_bands, pattern_centre, min_contrast, signal_mask, lazy, **how
        )
        options = {
            "width_scale": width_scale,
            "centre_error": centre_error,
            "max_patterns": max_patterns,
        }
        source = self._source(pattern_centre, signal_mask, num_workers)
        return classify(bands, labels, energy, options, source, lazy_output=lazy, **how)

    def to_crystal_map(
        self,
        lattices: PhaseLattice | Mapping[int, PhaseLattice],
        phases: Phase | Mapping[int, Phase] | None = None,
        *,
        detector=None,
    ) -> CrystalMap:
        """Make a crystal map of lattices that were found in these patterns.

        Parameters
        ----------
        lattices : PhaseLattice or dict
            Of `estimate_lattice`, from these patterns or from their bands.
        phases : orix.crystal_map.Phase, PhaseList or dict, optional
            Known phase of all labels, or of some labels each, such as ``master_pattern.phase``, in
            any unit: kikuchipy refines only where the map has that one. Labels of one phase, such
            as grains, become one. By default the phases are those found, see
            `PhaseLattice.to_phase`. Phases of one colour get others.
        detector : kikuchipy.detectors.EBSDDetector, optional
            Of which the tilts are used. ``s.detector`` by default.

        Returns
        -------
        orix.crystal_map.CrystalMap
            With a phase for each label and under its number, an orientation for each pattern in
            kikuchipy's convention (from the specimen's frame to the crystal's), and the scan's
            coordinates. Patterns without an orientation are not indexed, neither are those of
            an 'unknown' lattice if no phase is given. ``explained`` and ``residual`` in ``prop``
            are those of `LatticeSolution`.

        Raises
        ------
        ValueError
            If the scans differ, the detector is not known, a phase is not of the lattice that was
            found, or no pattern is indexed.
        TypeError
            If something is no lattice or no phase.
        ImportError
            If orix is not installed.
        """
        return as_crystal_map(self._signal, lattices, phases, detector)

    def __getattr__(self, name: str):
        """Say so where a method is that of bands."""
        if name in ("cluster_patterns", "compare_phases"):
            raise AttributeError(
                f"{name!r} is for the bands of patterns: s.emsparse.detect_bands(60).{name}(...)."
            )
        return super().__getattr__(name)

    def _bands_for(
        self,
        labels,
        n_bands: int,
        pattern_centre,
        min_contrast: float,
        signal_mask,
        lazy: bool,
        **how,
    ) -> KikuchiBands:
        """Bands of the patterns that labels don't leave out, computed if there are labels."""
        scan = self._signal.axes_manager._navigation_shape_in_array
        left_out = None if labels is None else as_labels(labels, scan) < 0
        return self.detect_bands(
            n_bands,
            pattern_centre,
            min_contrast=min_contrast,
            navigation_mask=left_out if np.any(left_out) else None,
            signal_mask=signal_mask,
            lazy_output=lazy and labels is None,
            **how,
        )

    def _source(self, pattern_centre, signal_mask, num_workers) -> PatternSource | None:
        """Where single patterns of the scan are read from."""
        if not self._signal.axes_manager.navigation_dimension:
            return None
        return PatternSource(
            self._signal._data_aligned_with_axes,
            pattern_centres_of(self._signal, pattern_centre),
            as_mask(signal_mask, frame_shape(self._signal), "signal"),
            num_workers,
        )

    def _map(self, function, centres, args, masks, **kwargs):
        """Work on each pattern with its pattern centre; also on a pattern without a scan."""
        blocks = blocks_of(self._signal, *masks)
        if centres.ndim == 1:
            result = blocks.map(function, centres, blocks.signal_keep, *args, **kwargs)
        else:
            result = blocks.map(function, blocks.signal_keep, *args, per_pixel=[centres], **kwargs)
        return result if self._signal.axes_manager.navigation_dimension else result[0]
