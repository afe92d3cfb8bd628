# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for atomic-resolution scans: lattice, domains, unit cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from hyperspy.signals import Signal2D

from emsparse_hs.accessor._base import SignalMethods, frame_shape
from emsparse_hs.blocks import Blocks
from emsparse_hs.electron import relativistic_wavelength
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.signals._scan_maps import scan_step, scan_step_in_nm

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.signals import ScanLattice, UnitCellModel
    from emsparse_hs.unit_cell.fitting import DomainFit
    from emsparse_hs.unit_cells import Scores

#: Where the microscope's settings are in the metadata.
_TEM = "Acquisition_instrument.TEM."
#: Principal scores of a pattern.
_N_SCORES = 64
#: Least length of a scan in px.
_SHORTEST = 16
#: Part of the variance below which there is a warning.
_LITTLE = 0.8
#: Cells across below which there is a warning.
_FEW_CELLS = 8


class UnitCellMethods(SignalMethods):
    """Methods for scans in which the unit cell of a crystal is resolved."""

    def find_scan_lattice(
        self,
        n_lattices: int = 1,
        *,
        n_scores: int = _N_SCORES,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> ScanLattice:
        """Find the crystal lattice that the scan is periodic with.

        Vectors come from local phases and from a fit to the inside of domains, so that walls
        between domains shift them little. Shifts of single lines, and slow drift, are found along
        with them; a drift that is constant goes into the vectors, as it does in any image.

        Parameters
        ----------
        n_lattices : int
            How many lattices there are, each in grains of its own.
        n_scores : int
            Principal scores of a pattern that the lattice is looked for in. `unit_cell_model` goes
            on with them.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        ScanLattice
            In the unit of the scan.

        Raises
        ------
        ValueError
            If the scan has not two uniform axes of one unit, is shorter than 16 px, holds NaN, or
            is not periodic with so many lattices.
        TypeError
            If the data are complex or ragged.

        Warns
        -----
        UserWarning
            If the scan is fewer than 8 cells across.

        Notes
        -----
        An image, such as a HAADF image of atomic columns, has no navigation axes: its signal axes
        are the scan then.
        """
        from emsparse_hs.signals import ScanLattice
        from emsparse_hs.unit_cell.lattice import find_lattices
        from emsparse_hs.unit_cells import find_scores

        for value, what in ((n_lattices, "lattices"), (n_scores, "scores")):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"The number of {what} is {value!r}. Pass 1 or more.")
        signal = _with_scan(self._signal)
        scores = find_scores(Blocks.of(signal), n_scores, show_progressbar, num_workers)
        axes = [axis.get_axis_dictionary() for axis in signal.axes_manager.navigation_axes[::-1]]
        lattice = ScanLattice(find_lattices(scores.values, int(n_lattices)), scores, axes)
        _warn_of_few_cells(lattice)
        return lattice

    def unit_cell_model(
        self,
        lattice: ScanLattice | None = None,
        *,
        n_domains: int | str = "auto",
        n_variants: int | str = 2,
        convergence_angle: float | None = None,
        beam_energy: float | None = None,
        rank: int | None = None,
        dose_per_count: float = 1.0,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> UnitCellModel:
        r"""Take the unit cell out of an atomic-resolution scan.

        Each pattern is that of its domain at the probe's position in the unit cell, mixed of a few
        variants, such as a thin and a thick one. As a function of that position intensity has no
        spatial frequencies beyond :math:`2 \alpha / \lambda`, so that a domain is a short Fourier
        series, exact for any position. Near walls a further atom describes what is displaced there.

        Parameters
        ----------
        lattice : ScanLattice, optional
            From `find_scan_lattice`, which is called by default for one lattice.
        n_domains : int or "auto"
            Domains of each lattice. "auto" splits a scan where lock-in maps fall into two heaps
            with a sharp boundary, and where two domains predict held-out electrons better than
            one; the evidence is in ``model.splits``.
        n_variants : int or "auto"
            Of each domain. "auto" adds variants as long as they predict held-out electrons better;
            the evidence is in ``model.variant_trials``. It takes two to four times as long.
        convergence_angle, beam_energy : float, optional
            Semi-angle of the probe in mrad and energy in keV, by default from the metadata. With
            the scan's step they give the highest frequency. Where one is not known, and where the
            noise hides the highest ones, it is found from the data.
        rank : int, optional
            Patterns that all patterns are made of, at most. As many as stand out of the noise by
            default.
        dose_per_count : float, optional
            Electrons a count, if the data are scaled counts; ``numpy.inf`` for a simulation without
            noise. What is explained and the misfit depend on it; the model does not.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        UnitCellModel
            With maps of domains and abundances, patterns for any position in the cell, and the
            scan made anew without noise.

        Raises
        ------
        ValueError
            If the lattice is of another scan, a number is out of range, or as for
            `find_scan_lattice`.
        TypeError
            If the data are complex or ragged.

        Warns
        -----
        UserWarning
            If less than 0.8 of the variance is explained or more than all of it, fewer domains are
            found than asked for, or the evidence is against a number that was asked for, or nearly
            for one domain more.
        """
        from emsparse_hs.signals import ScanLattice, UnitCellModel
        from emsparse_hs.unit_cell.fitting import fit_domains
        from emsparse_hs.unit_cell.selection import choose_n_variants
        from emsparse_hs.unit_cells import PlacedAtoms, fit_dictionary, misfit_sums

        if frame_shape(self._signal) == (1, 1) or not self._signal.axes_manager.navigation_shape:
            raise ValueError(
                f"{self._signal!r} is an image, and a model needs patterns. Find its lattice with "
                "find_scan_lattice; its average cell is that of any software for images."
            )
        how: dict[str, Any] = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        wanted = _number(n_domains, "domains")
        variants = _number(n_variants, "variants")
        if rank is not None and (not isinstance(rank, (int, np.integer)) or rank < 1):
            raise ValueError(f"The rank is {rank!r}. Pass 1 or more, or None.")
        if not dose_per_count > 0:
            raise ValueError(f"A count is {dose_per_count!r} electrons. Pass a positive number.")
        if lattice is None:
            lattice = self.find_scan_lattice(**how)
        elif not isinstance(lattice, ScanLattice):
            raise TypeError(f"{lattice!r} is no lattice. Pass what find_scan_lattice returns.")
        signal = _with_scan(self._signal)
        blocks = Blocks.of(signal)
        scores = _scores_of(lattice, blocks, how)
        values = scores.values
        limit = _band_limit(signal, convergence_angle, beam_energy)
        indices = _waves(lattice, values, limit)
        if variants is None:
            fit, trials = choose_n_variants(values, lattice.fit, indices, wanted)
        else:
            fit, trials = fit_domains(values, lattice.fit, indices, wanted, variants), []
        _warn_of_few(fit, wanted)
        _warn_of_evidence(fit, wanted)
        cells = fit_dictionary(blocks, scores.scaling, fit, indices, rank, **how)
        sums = misfit_sums(blocks, cells, PlacedAtoms.of(fit), **how)
        like = _like(signal) | {"dose_per_count": float(dose_per_count)}
        model = UnitCellModel(fit, cells, sums, like, trials)
        _warn_of_explained(model.explained_variance)
        return model


def _waves(lattice: ScanLattice, values: np.ndarray, limit: float) -> list[np.ndarray]:
    """Harmonics of each lattice that the aperture lets through and the noise does not hide."""
    from emsparse_hs.unit_cell.lattice import fitted_harmonics, significant_cutoff

    cutoff = min(significant_cutoff(values, lattice.fit), limit)
    indices = fitted_harmonics(lattice.fit.alignment.reciprocal, cutoff)
    if not all(map(len, indices)):
        raise ValueError(
            "No wave of the lattice is below the aperture's limit. Check the convergence angle in "
            "mrad, the beam energy in keV, and the scan's step."
        )
    return indices


def _scores_of(lattice: ScanLattice, blocks: Blocks, how: dict[str, Any]) -> Scores:
    """Scores of the scan: those that the lattice was found in, if it was found in this scan."""
    from emsparse_hs.unit_cells import find_scores

    shape = lattice.scores.values.shape[:2]
    if shape != blocks.navigation_shape:
        raise ValueError(
            f"The lattice is of a scan of {shape} positions, and this one has "
            f"{blocks.navigation_shape}. Find its own lattice."
        )
    if len(lattice.scores.scaling.mean) == blocks.signal_keep.size:
        return lattice.scores
    # It was found in an image of the same scan.
    return find_scores(blocks, _N_SCORES, **how)


def _warn_of_few(fit: DomainFit, wanted: int | None) -> None:
    """Say so if there are fewer domains than were asked for."""
    found = np.bincount(fit.lattice_of)
    if wanted is not None and found.min() < wanted:
        warnings.warn(
            f"{wanted} domains were asked for, and {found.min()} found: the rest of the scan does "
            "not fall in two, or is too small.",
            stacklevel=3,
        )


def _warn_of_evidence(fit: DomainFit, wanted: int | None) -> None:
    """Say so if the evidence is against the number of domains, or leaves it open."""
    if wanted is not None and not all(split.accepted for split in fit.splits):
        warnings.warn(
            f"By itself the scan does not fall in {wanted} domains: some of them are parts of one. "
            "See model.splits.",
            stacklevel=3,
        )
    nearly = [split for split in fit.splits if split.nearly]
    if wanted is None and nearly:
        warnings.warn(
            f"There may be one domain more: a split with a valley of {nearly[0].valley:.2f} was "
            "only just turned down. If the slow map has a sharp boundary, pass n_domains.",
            stacklevel=3,
        )


def _warn_of_few_cells(lattice: ScanLattice) -> None:
    """Say so if the scan is too small for its lattice to be sure."""
    alignment = lattice.fit.alignment
    n_cells = min(alignment.shape) * np.linalg.norm(alignment.reciprocal, axis=-1).min()
    if n_cells < _FEW_CELLS:
        warnings.warn(
            f"The scan is {n_cells:.1f} cells across. With fewer than {_FEW_CELLS}, a wall or a "
            "wedge may shift the lattice by more than its errors, or a smaller cell be taken for "
            "the true one. Check lattice.plot(), and scan a larger area if you can.",
            stacklevel=3,
        )


def _warn_of_explained(explained: float) -> None:
    """Say so if the lattice or the noise is not what the scan varies with."""
    if explained < _LITTLE:
        warnings.warn(
            f"The model explains {explained:.0%} of the variance of the scan. Its lattice may be "
            "wrong, of only a part of the scan, or one of several on top of each other: look at "
            "lattice.plot() and model.misfit(). For grains with lattices of their own call "
            "find_scan_lattice(2). If the data are scaled counts, pass dose_per_count.",
            stacklevel=3,
        )
    elif explained > 1:
        warnings.warn(
            f"The model explains {explained:.0%} of the variance: the data have less noise than "
            "counts. Pass dose_per_count, which is numpy.inf for data without noise.",
            stacklevel=3,
        )


def _with_scan(signal: BaseSignal) -> BaseSignal:
    """The signal, or an image as a scan of single values; the scan is large enough."""
    axes = signal.axes_manager
    if axes.navigation_dimension == 0 and axes.signal_dimension == 2:
        scan = [{**a.get_axis_dictionary(), "navigate": True} for a in axes.signal_axes[::-1]]
        single = {"size": 1, "navigate": False}
        values = np.asarray(signal.data)[..., np.newaxis, np.newaxis]
        signal = Signal2D(values, axes=[*scan, single, single])
        axes = signal.axes_manager
    if axes.navigation_dimension != 2:
        raise ValueError(
            f"{signal!r} has {axes.navigation_dimension} navigation axes, and a scan has two. "
            "Choose one scan of a series with s.inav; make an image of what is summed with .T."
        )
    if min(axes.navigation_shape) < _SHORTEST:
        raise ValueError(
            f"The scan has {axes.navigation_shape} positions, too few to find a lattice. At least "
            f"{_SHORTEST} along each axis are needed."
        )
    scan_step(signal)
    return signal


def _number(value: int | str, what: str) -> int | None:
    """How many are asked for; None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f'The number of {what} is {value!r}. Pass 1 or more, or "auto".')
    return int(value)


def _band_limit(signal: BaseSignal, convergence_angle, beam_energy) -> float:
    """Highest frequency of patterns against the probe's position in cycles a px, if known."""
    given = {"convergence_angle": convergence_angle, "beam_energy": beam_energy}
    for name, value in given.items():
        if value is None:
            given[name] = signal.metadata.get_item(_TEM + name, default=None)
        elif not value > 0:
            raise ValueError(f"The {name} is {value!r}. Pass a positive number.")
    angle, energy = given.values()
    if angle is None or energy is None:
        return np.inf
    try:
        step = max(abs(size) for size in scan_step_in_nm(signal))
    except ValueError:
        return np.inf
    wavelength = relativistic_wavelength(float(energy)) / 10  # in nm
    return 2e-3 * float(angle) / wavelength * step


def _like(signal: BaseSignal) -> dict[str, Any]:
    """What a model needs to know of the signal to make it anew."""
    manager = signal.axes_manager
    # In the order of `_data_aligned_with_axes`, which is that of the blocks.
    ordered = manager.navigation_axes[::-1] + manager.signal_axes[::-1]
    axes = [axis.get_axis_dictionary() for axis in ordered]
    nbytes = int(np.prod([axis["size"] for axis in axes])) * signal.data.dtype.itemsize
    return {
        "axes": axes,
        "metadata": kept_metadata(signal),
        "signal_type": signal.metadata.get_item("Signal.signal_type", default=""),
        "nbytes": nbytes,
    }
