# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Example data as calibrated HyperSpy signals: measured sets, and simulated ones with the truth."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs._optional import is_installed, require

from ._registry import path

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal

    from ._simulated_domains import SimulatedDomains
    from ._simulated_patterns import SimulatedPatterns
    from ._simulated_phases import SimulatedPhases
    from ._simulated_scan import SimulatedScan
    from ._simulated_spectra import SimulatedSpectra
    from ._simulated_tilt_series import SimulatedTiltSeries


def spectrum_image(lazy: bool = False) -> BaseSignal:
    """Measured STEM-EDS map of minerals as they occur in the Earth's lower mantle.

    80 x 80 pixels of 9.9 nm, 1917 channels from 0.83 keV, 200 kV, 112 counts a pixel. Two
    components stand out of the noise, perhaps a third. From the package espm (A. Teurtrie and
    N. Perraudin), MIT licence.

    Parameters
    ----------
    lazy : bool, optional
        If the counts stay in the file until they are needed.

    Returns
    -------
    exspy.signals.EDSTEMSpectrum or hyperspy.signals.Signal1D
        uint8 counts of shape (80, 80, 1917); a plain Signal1D if exspy is not installed.
    """
    # Asked for by name, since HyperSpy warns of the type in the file when exspy is not there.
    return _load("espm_88_ES_G8_EDS.hspy", lazy, "EDS_TEM" if is_installed("exspy") else "")


def needle(lazy: bool = False) -> BaseSignal:
    """Measured HAADF tilt series of a needle, aligned, with its tilts.

    A part of the series in the package etspy (NIST public licence), rounded to integers: 77 images
    of 96 x 64 px of 3.36 nm, -76 to 76 degrees in steps of 2, the tilt axis along x.

    Parameters
    ----------
    lazy : bool, optional
        If the images stay in the file until they are needed.

    Returns
    -------
    TiltSeries
        uint16 intensities of shape (77, 96, 64).
    """
    return _load("needle_HAADF_aligned_crop.hspy", lazy, "tilt_series")


def nickel_patterns(lazy: bool = False) -> BaseSignal:
    """Measured Kikuchi patterns of nickel, with their orientations and pattern centre.

    3 x 3 patterns of 60 x 60 px, 20 kV, that come with kikuchipy (H. W. Ånes et al., CC-BY-4.0).

    Parameters
    ----------
    lazy : bool, optional
        If the patterns stay in the file until they are needed.

    Returns
    -------
    kikuchipy.signals.EBSD

    Raises
    ------
    ImportError
        If kikuchipy is not installed.
    """
    return require("kikuchipy.data", extra="ebsd").nickel_ebsd_small(lazy=lazy)


def simulated_spectrum_image(
    seed: int = 0, **parameters: Any
) -> tuple[BaseSignal, SimulatedSpectra]:
    """Simulated EDS map of three phases and a particle, with the truth.

    Parameters
    ----------
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``shape`` (y, x), ``n_channels`` and ``counts_per_pixel``, the mean over the map.

    Returns
    -------
    signal : exspy.signals.EDSTEMSpectrum or hyperspy.signals.Signal1D
        Counts; a plain Signal1D if exspy is not installed.
    truth : SimulatedSpectra
        Counts, true spectra and true abundances.
    """
    from ._simulated_spectra import PHASES, simulate_spectra

    truth = simulate_spectra(seed=seed, **parameters)
    axes = [
        *_scan_axes(truth.pixel_size, "nm"),
        _axis("Energy", "keV", truth.energy_scale, truth.energy_offset),
    ]
    metadata = {
        "General": {"title": "Simulated EDS map"},
        "Acquisition_instrument": {"TEM": {"beam_energy": 200.0}},
        "Sample": {"elements": sorted({element for parts in PHASES.values() for element in parts})},
        "Signal": {"quantity": "X-rays (Counts)"},
    }
    signal_type = "EDS_TEM" if is_installed("exspy") else ""
    return _signal(truth.counts, axes, metadata, signal_type, dimension=1), truth


def simulated_scan(seed: int = 0, **parameters: Any) -> tuple[BaseSignal, SimulatedScan]:
    """Simulated 4D-STEM scan of a film with charged particles, with the true field.

    Parameters
    ----------
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``scan_shape`` (y, x), ``dose`` in electrons a frame or None for frames without noise,
        ``beam_energy`` in keV, ``thickness`` in nm.

    Returns
    -------
    signal : pyxem.signals.ElectronDiffraction2D or hyperspy.signals.Signal2D
        Frames with axes in mrad, zero where an undeflected beam is; a plain Signal2D if pyxem is
        not installed.
    truth : SimulatedScan
        Frames, true field and true potential.
    """
    from ._simulated_scan import simulated_scan as simulate

    truth = simulate(seed=seed, **parameters)
    step = truth.detector_step
    centre_x, centre_y = truth.detector_centre
    axes = [
        *_scan_axes(truth.scan_step, "nm"),
        _axis("ky", "mrad", step, -centre_y * step),
        _axis("kx", "mrad", step, -centre_x * step),
    ]
    instrument = {
        "beam_energy": truth.beam_energy,
        "convergence_angle": truth.convergence_angle,
    }
    metadata = {
        "General": {"title": "Simulated 4D-STEM scan"},
        "Acquisition_instrument": {"TEM": instrument},
    }
    signal_type = "electron_diffraction" if is_installed("pyxem") else ""
    return _signal(truth.data, axes, metadata, signal_type), truth


def simulated_domains(
    kind: str = "wall", seed: int = 0, **parameters: Any
) -> tuple[BaseSignal, SimulatedDomains]:
    """Simulated atomic-resolution 4D-STEM scan of two domains or grains, with the truth.

    Parameters
    ----------
    kind : {"wall", "grains", "single"}
        A 180 degree wall between domains of PbTiO3, two grains of it, or one domain.
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``scan_shape`` (y, x), ``dose`` in electrons a pattern, ``scan_step``, ``thickness`` of
        both ends of the wedge and ``row_jitter`` in angstrom, and ``table``, a
        ``ConvergentBeamTable`` of another crystal.

    Returns
    -------
    signal : pyxem.signals.ElectronDiffraction2D or hyperspy.signals.Signal2D
        Patterns with axes in mrad and a scan in nm; a plain Signal2D if pyxem is not installed.
    truth : SimulatedDomains
        Patterns, domains, thickness, lattice and shifts of lines.
    """
    from ._simulated_domains import simulated_domains as simulate

    truth = simulate(kind, seed, **parameters)
    table = truth.table
    middle = (truth.data.shape[-1] - 1) / 2 * table.detector_step
    axes = [
        *_scan_axes(truth.scan_step / 10, "nm"),
        _axis("ky", "mrad", table.detector_step, -middle),
        _axis("kx", "mrad", table.detector_step, -middle),
    ]
    instrument = {
        "beam_energy": table.beam_energy,
        "convergence_angle": table.convergence_angle,
    }
    metadata = {
        "General": {"title": "Simulated 4D-STEM scan of a crystal"},
        "Acquisition_instrument": {"TEM": instrument},
    }
    signal_type = "electron_diffraction" if is_installed("pyxem") else ""
    return _signal(truth.data, axes, metadata, signal_type), truth


def simulated_phases(seed: int = 0, **parameters: Any) -> tuple[BaseSignal, SimulatedPhases]:
    """Simulated nanobeam 4D-STEM scan of a bent, strained foil, with the true phases.

    Parameters
    ----------
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``scan_shape`` (y, x), ``dose`` in electrons a frame or None for frames without noise,
        ``bend`` and ``thickness`` in times as usual, ``strain``, ``n_phases``, ``frame`` in px,
        ``background`` and ``amorphous``.

    Returns
    -------
    signal : pyxem.signals.ElectronDiffraction2D or hyperspy.signals.Signal2D
        Frames with axes in px, zero where the direct beam is; a plain Signal2D if pyxem is not
        installed.
    truth : SimulatedPhases
        Frames, and which phase is where.
    """
    from ._simulated_phases import simulated_phases as simulate

    truth = simulate(seed=seed, **parameters)
    centre_x, centre_y = truth.centre
    # No length is simulated: a step of the scan is small against bend and grains, that is all.
    axes = [
        *_scan_axes(1.0, "px"),
        _axis("ky", "px", 1, -centre_y),
        _axis("kx", "px", 1, -centre_x),
    ]
    metadata = {"General": {"title": "Simulated nanobeam scan"}}
    signal_type = "electron_diffraction" if is_installed("pyxem") else ""
    return _signal(truth.data, axes, metadata, signal_type), truth


def simulated_patterns(seed: int = 0, **parameters: Any) -> tuple[BaseSignal, SimulatedPatterns]:
    """Simulated Kikuchi patterns of a cubic crystal in random orientations, with the true bands.

    Parameters
    ----------
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``navigation_shape`` (y, x), ``shape`` of a pattern, ``pattern_centre`` in Bruker's
        convention, ``structure`` ("fcc", "bcc", "sc", "diamond"), ``lattice_parameter`` in
        angstrom, ``atomic_number``, ``beam_energy`` in keV, ``noise``, ``oversampling``.

    Returns
    -------
    signal : kikuchipy.signals.EBSD or hyperspy.signals.Signal2D
        Patterns without a static background, so there is none to remove; a plain Signal2D
        without pattern centre if kikuchipy is not installed.
    truth : SimulatedPatterns
        Patterns, orientations and bands.
    """
    from ._simulated_patterns import simulate_patterns

    truth = simulate_patterns(seed=seed, **parameters)
    # Each pixel is a grain of its own: there is no distance to calibrate.
    axes = [*_scan_axes(1.0, "px"), _axis("dy", "px"), _axis("dx", "px")]
    metadata = {
        "General": {"title": "Simulated Kikuchi patterns"},
        "Acquisition_instrument": {"SEM": {"beam_energy": truth.beam_energy}},
    }
    if not is_installed("kikuchipy"):
        return _signal(truth.patterns, axes, metadata, ""), truth
    signal = _signal(truth.patterns, axes, metadata, "EBSD")
    signal.detector = require("kikuchipy.detectors", extra="ebsd").EBSDDetector(
        shape=truth.patterns.shape[2:], pc=truth.pattern_centre, convention="bruker"
    )
    return signal, truth


def simulated_tilt_series(
    seed: int = 0, **parameters: Any
) -> tuple[BaseSignal, SimulatedTiltSeries]:
    """Simulated tilt series of a specimen of one of four kinds, with the true volume.

    Parameters
    ----------
    seed : int, optional
        Of everything that is drawn at random.
    **parameters
        ``kind`` ("particles", "porous", "needle" or "clouds"), ``size`` and ``n_slices`` in px,
        ``tilts`` in degrees, ``counts``, ``background``, ``pixel_size`` in nm.

    Returns
    -------
    signal : TiltSeries
        Images with the tilt axis along x, and the tilts.
    truth : SimulatedTiltSeries
        Images, images without noise, volume and tilts.
    """
    from ._simulated_tilt_series import simulate_tilt_series

    truth = simulate_tilt_series(seed=seed, **parameters)
    axes = [_axis("Tilt", "°"), *_scan_axes(truth.pixel_size, "nm")]
    metadata = {"General": {"title": "Simulated tilt series"}}
    signal = _signal(truth.images, axes, metadata, "tilt_series")
    signal.set_tilts(truth.tilts)
    return signal, truth


def _load(name: str, lazy: bool, signal_type: str) -> BaseSignal:
    import hyperspy.api as hs

    with warnings.catch_warnings():
        # Files of older versions of HyperSpy are read rightly; users can do nothing about them.
        warnings.filterwarnings("ignore", message="Loading old file version")
        return hs.load(path(name), lazy=lazy, signal_type=signal_type)


def _axis(name: str, units: str, scale: float = 1.0, offset: float = 0.0) -> dict[str, Any]:
    return {"name": name, "units": units, "scale": scale, "offset": offset}


def _scan_axes(step: float, units: str) -> list[dict[str, Any]]:
    return [_axis("y", units, step), _axis("x", units, step)]


def _signal(
    data: np.ndarray,
    axes: list[dict[str, Any]],
    metadata: dict[str, Any],
    signal_type: str,
    dimension: int = 2,
) -> BaseSignal:
    """Data on axes in the order of the array, the first of which are the scan's."""
    import hyperspy.api as hs

    kind = hs.signals.Signal1D if dimension == 1 else hs.signals.Signal2D
    sized = [{**axis, "size": size} for axis, size in zip(axes, data.shape, strict=True)]
    signal = kind(data, axes=sized, metadata=metadata)
    if signal_type:
        signal.set_signal_type(signal_type)
    return signal
