# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where X-ray lines and the backgrounds beside them are on the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Widths of a line on either side of it that exSpy takes for the line.
_OWN = 1.0


def windows_of(spectra: BaseSignal, lines: list[str], line_width) -> np.ndarray:
    """Windows of the background on both sides of each line, beyond other lines if they are near.

    Parameters
    ----------
    spectra : EDSTEMSpectrum
        Whose metadata say which other lines there may be.
    lines : list of str
        That are quantified.
    line_width : tuple of float
        Distance of the windows from a line below and above, in widths of the line, from 1 on.

    Returns
    -------
    float array of shape (n_lines, 4)
        First and last energy below, and above.

    Raises
    ------
    ValueError
        If a window is beyond the axis, or on the line itself.
    """
    _check_distances(line_width)
    axis = spectra.axes_manager.signal_axes[0]
    places = {line: spectra._get_line_energy(line, FWHM_MnKa="auto") for line in lines}
    others = [spectra._get_line_energy(line, FWHM_MnKa="auto") for line in _other_lines(spectra)]
    known = np.unique([*places.values(), *others], axis=0)
    windows = np.empty((len(lines), 2, 2))
    for line, (below, above) in zip(lines, windows, strict=True):
        energy, width = places[line]
        below[::-1] = -_above(-energy, width, line_width[0], (known * [-1, 1])[::-1])
        above[:] = _above(energy, width, line_width[1], known)
        beyond = below[0] < axis.low_value, above[1] > axis.high_value
        first, last = energy + np.array([-line_width[0] - 1, line_width[1] + 1]) * width
        if first < axis.low_value or last > axis.high_value or all(beyond):
            raise ValueError(
                f"The background of {line} is looked for from {min(first, below[0]):.3f} to "
                f"{max(last, above[1]):.3f} {axis.units}, which is beyond the energy axis. Pass a "
                f"smaller line_width than {line_width}, or xray_lines without this one."
            )
        # Where other lines leave nothing on one side, the other one has to do.
        if any(beyond):
            below[:] = above[:] = above if beyond[0] else below
    return windows.reshape(-1, 4)


def _check_distances(line_width) -> None:
    distances = np.asarray(line_width, float)
    if distances.shape != (2,) or not (distances >= _OWN).all():
        raise ValueError(
            f"line_width={line_width!r}, and two numbers from {_OWN:g} on are needed: a line is "
            f"summed up to {_OWN:g} of its widths on either side, and a background within is the "
            "line itself."
        )


def _above(energy: float, width: float, distance: float, known: np.ndarray) -> np.ndarray:
    """The window above a line, or above the next ones where they are in the way."""
    first, size = energy + distance * width, width
    for other, reach in known[known[:, 0] > energy]:
        if first < other + reach and first + size > other - reach:
            first, size = other + distance * reach, reach
    return np.array([first, first + size])


def _other_lines(spectra: BaseSignal) -> list[str]:
    """Lines of the metadata, and those that exSpy takes of elements that have none there."""
    known = spectra.metadata.get_item("Sample.xray_lines", default=[])
    named = {line.split("_")[0] for line in known}
    others = set(spectra.metadata.get_item("Sample.elements", default=[])) - named
    return known + spectra._get_lines_from_elements(others, only_one=True, only_lines=("a",))


def weights_of(
    units: BaseSignal,
    lines: list[str],
    windows: np.ndarray,
    left_out: np.ndarray,
    masked: np.ndarray,
) -> np.ndarray:
    """How each channel counts in the intensity of each line.

    Parameters
    ----------
    units : EDSTEMSpectrum
        One count in each of the channels, one after the other.
    lines, windows, left_out
        As checked.
    masked : bool array of shape (n_channels,)
        True for channels that the decomposition knows nothing of.

    Returns
    -------
    array of shape (n_lines, n_channels)
        Negative in the background.

    Raises
    ------
    ValueError
        If a line that counts, or its background, is in masked channels.
    """
    found = units.get_lines_intensity(lines, background_windows=windows)
    weights = np.stack([np.ravel(signal.data) for signal in found])
    axis = units.axes_manager.signal_axes[0]
    for line, out, weight in zip(lines, left_out.T, weights, strict=True):
        if not out.all() and weight[masked].any():
            first, last = axis.axis[np.flatnonzero(weight)[[0, -1]]]
            raise ValueError(
                f"{line} and its background are from {first:.4g} to {last:.4g} {axis.units}, where "
                f"signal_mask left channels out. Pass without_lines=[{line!r}] to have the others "
                "add up to 100 %, another line_width if only the background is masked, or "
                "decompose without that mask."
            )
    return weights
