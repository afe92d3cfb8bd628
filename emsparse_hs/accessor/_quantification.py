# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compositions of components with exSpy's tools: which lines and factors, and what is not known."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs._masks import as_mask
from emsparse_hs._optional import is_installed
from emsparse_hs._warnings import warn
from emsparse_hs.accessor._compositions import Compositions
from emsparse_hs.decomposition._composition_errors import share_errors, sum_variances

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Percent of all amounts that a line may be below nothing without a warning.
_NOISE = 1.0

#: Standard errors above its background from which on a line is seen.
_SEEN = 3.0

#: Counts below which exSpy takes a line for none.
_EXSPY_SEES = 0.1


def why_not_thin(signal: BaseSignal) -> str:
    """Why a signal can't be quantified with Cliff-Lorimer factors, and what to do.

    Parameters
    ----------
    signal : BaseSignal
        Of another class than exSpy's for thin samples.

    Returns
    -------
    str
        For an error.
    """
    install = "" if is_installed("exspy") else "install exspy and "
    if signal._signal_type == "EDS_SEM":
        found = "an EDS map of a bulk sample (SEM), whose lines are absorbed and excited otherwise"
    else:
        found = "no EDS map of a thin sample"
    return (
        f"{signal!r} is {found}, and Cliff-Lorimer factors are for thin samples. If it is one, "
        f"{install}use s.set_signal_type('EDS_TEM')."
    )


def checked_lines(spectra: BaseSignal, xray_lines) -> list[str]:
    """Lines that can be quantified together, in the order of `xray_lines` or of the metadata.

    Parameters
    ----------
    spectra : EDSTEMSpectrum
        Of which the axis and the metadata count.
    xray_lines : iterable of str or None
        As the user gave them.

    Returns
    -------
    list of str
        Lines on the axis, one an element.

    Raises
    ------
    ValueError
        If a line does not exist, is given twice, is one of two of the same element, is asked for
        beyond the axis, or is alone.
    """
    if xray_lines is not None and not isinstance(xray_lines, str | dict):
        xray_lines = [str(line) for line in xray_lines]
        _check_names(xray_lines)
    with warnings.catch_warnings():
        if xray_lines is not None:
            warnings.filterwarnings("ignore", ".*not in the data energy range")
        # It leaves out lines beyond the energy axis, and says so.
        found = [] if xray_lines == [] else spectra.get_lines_intensity(xray_lines)
    lines = [line.metadata.Sample.xray_lines[0] for line in found]
    axis = spectra.axes_manager.signal_axes[0]
    beyond = [line for line in xray_lines or () if line not in lines]
    if beyond:
        raise ValueError(
            f"{', '.join(beyond)} can't be seen: the axis goes from {axis.low_value:.4g} to "
            f"{axis.high_value:.4g} {axis.units}, and the beam excites no line above its energy. "
            "Pass xray_lines without them."
        )
    _check_elements(lines)
    if len(lines) < 2:
        raise ValueError(
            f"Ratios of lines are quantified, and there is {lines[0] if lines else 'no line'}. Pass"
            " two or more as xray_lines, or add elements with s.add_elements."
        )
    return lines


def _check_names(lines: list[str]) -> None:
    from exspy.material import elements

    for line in lines:
        element, _, shell = line.partition("_")
        if element not in elements:
            raise ValueError(f"{line!r} is no X-ray line. Lines are called 'Fe_Ka', for instance.")
        known = elements[element].Atomic_properties.as_dictionary().get("Xray_lines", {})
        if shell not in known:
            named = ", ".join(f"{element}_{name}" for name in known) or "none"
            raise ValueError(f"{line!r} is no X-ray line of {element}, which has {named}.")
    for line, times in Counter(lines).items():
        if times > 1:
            raise ValueError(f"{line!r} is in xray_lines {times} times. Pass each line once.")


def _check_elements(lines: list[str]) -> None:
    for element, times in Counter(line.split("_")[0] for line in lines).items():
        if times > 1:
            same = ", ".join(line for line in lines if line.startswith(f"{element}_"))
            raise ValueError(
                f"{element} would count {times} times, with {same}. Pass xray_lines with one line "
                "of each element."
            )


def factors_of(factors, lines: list[str]) -> list[float]:
    """Factors in the order of the lines, checked.

    Parameters
    ----------
    factors : sequence of float, or mapping of str to float
        As the user gave them.
    lines : list of str
        Whose factors they are.

    Returns
    -------
    list of float
        All positive.

    Raises
    ------
    ValueError
        If there is no factor for a line, there are too many, or one is not a positive number.
    """
    if isinstance(factors, Mapping):
        missing = [line for line in lines if line not in factors]
        if missing:
            raise ValueError(
                f"There are no factors for {', '.join(missing)}. Add them, or pass xray_lines "
                "without these."
            )
        factors = [factors[line] for line in lines]
    if not np.iterable(factors):
        raise ValueError(f"factors={factors!r}, and one for each of the lines {lines} is needed.")
    factors = list(factors)
    if len(factors) != len(lines):
        raise ValueError(
            f"There are {len(factors)} factors for the {len(lines)} lines {lines}, in this "
            "order. Lines beyond the energy axis are not among them. Pass factors by line, as in "
            f"{{{lines[0]!r}: 1.0}}, to quantify the lines that have one."
        )
    values = [float("nan") if factor is None else float(factor) for factor in factors]
    for line, value in zip(lines, values, strict=True):
        if not 0 < value < np.inf:
            raise ValueError(
                f"The factor of {line} is {value}, and a positive number is needed. Pass "
                "xray_lines without it, if you have none."
            )
    return values


def left_out_of(without_lines, lines: list[str], n_components: int) -> np.ndarray:
    """Which lines do not count in which components.

    Parameters
    ----------
    without_lines : iterable of str, mapping of int to such, or None
        As the user gave it.
    lines : list of str
        All lines.
    n_components : int
        Number of components.

    Returns
    -------
    bool array of shape (n_components, n_lines)
        True where left out.

    Raises
    ------
    ValueError
        If there is no such line or component, or nothing is left of a component.
    """
    if not isinstance(without_lines, Mapping):
        names = () if without_lines is None else without_lines
        names = [names] if isinstance(names, str) else list(names)
        without_lines = dict.fromkeys(range(n_components), names)
    left_out = np.zeros((n_components, len(lines)), bool)
    for k, names in without_lines.items():
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in lines]
        if unknown or k not in range(n_components):
            raise ValueError(
                f"without_lines has {unknown or 'lines'} of component {k}, and there are components"
                f" 0 to {n_components - 1} with the lines {', '.join(lines)}."
            )
        left_out[k, [lines.index(name) for name in names]] = True
    if left_out.all(1).any():
        raise ValueError(
            f"without_lines leaves nothing of component {left_out.all(1).argmax()}. Keep a line."
        )
    return left_out


def quantified(
    spectra: BaseSignal,
    weights: np.ndarray,
    loadings: np.ndarray,
    lines: list[str],
    factors: list[float],
    windows: np.ndarray,
    left_out: np.ndarray,
    **kwargs,
):
    """Compositions with their errors; see `SpectrumMethods.quantify_components`.

    Parameters
    ----------
    spectra : EDSTEMSpectrum
        Counts of the components.
    weights : array of shape (n_lines, n_channels)
        As `weights_of` gives them.
    loadings : array of shape (n_pixels, n_components)
        Of any scale.
    lines, factors, windows, left_out
        As checked.
    **kwargs
        For `quantification`.

    Returns
    -------
    Compositions, or a pair of it and a mass thickness
        As exSpy returns it.
    """
    name = kwargs.setdefault("composition_units", "atomic")
    if name not in ("atomic", "weight"):
        raise ValueError(f"composition_units={name!r} is not known. Use 'atomic' or 'weight'.")
    masked = as_mask(kwargs.pop("navigation_mask", None), (len(left_out),), "navigation")
    if masked is not None:
        left_out = left_out | masked[:, None]
    found = spectra.get_lines_intensity(lines, background_windows=windows)
    for signal, out in zip(found, left_out.T, strict=True):
        # Of nothing exSpy makes nothing, and the others add up to all.
        signal.data = np.where(out.reshape(signal.data.shape), 0.0, signal.data)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = spectra.quantification(
            found, method="CL", factors=factors, navigation_mask=None, **kwargs
        )
    signals, *thickness = (result,) if isinstance(result, list) else result
    intensities = np.stack([np.ravel(signal.data) for signal in found], -1)
    amounts = _amounts(lines, factors, name)
    if thickness:
        # With what absorption makes of them.
        shares = np.stack([np.ravel(signal.data) for signal in signals], -1)
        amounts = np.divide(shares, intensities, out=np.zeros(shares.shape), where=intensities != 0)
        amounts[(intensities > _EXSPY_SEES).sum(1) < np.minimum((~left_out).sum(1), 2)] = np.nan
    covariances = _covariances(loadings, spectra.data, weights)
    covariances *= ~(left_out[:, :, None] | left_out[:, None, :])
    noise = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0))
    # What is far below nothing is told with its line: another one is in its background.
    unseen = ~(np.abs(intensities) > _SEEN * noise).any(1) & ~left_out.all(1)
    _warn_of_unseen(unseen)
    _warn_of_negative(lines, intensities, noise, _amounts(lines, factors, name), ~unseen)
    amounts = np.where(unseen[:, None], np.nan, amounts)
    errors = 100 * share_errors(intensities, covariances, amounts)
    shares = _shares(amounts * intensities)
    for signal, values in zip(signals, shares.T, strict=True):
        signal.data = 100 * values.reshape(signal.data.shape)
    compositions = _without(signals, errors, left_out, name)
    return (compositions, *thickness) if thickness else compositions


def _shares(amounts: np.ndarray) -> np.ndarray:
    """Parts of the sum, NaN where that is not positive.

    exSpy's own are 0 and 1 where fewer than two lines have a tenth of a count, whatever is below
    nothing.
    """
    totals = amounts.sum(1, keepdims=True)
    return amounts / np.where(totals > 0, totals, np.nan)


def _without(signals, errors, left_out: np.ndarray, units: str) -> Compositions:
    """NaN where lines do not count, and no column for those that count nowhere."""
    errors = np.where(left_out, np.nan, errors)
    for signal, out in zip(signals, left_out.T, strict=True):
        signal.data = np.where(out.reshape(signal.data.shape), np.nan, signal.data)
    some = np.flatnonzero(~left_out.all(0))
    kept = [signals[n] for n in some]
    return Compositions(kept, errors[:, some], units)


def _amounts(lines: list[str], factors: list[float], units: str) -> np.ndarray:
    """What the intensity of each line is multiplied by, but for one number."""
    if units == "weight":
        return np.array(factors)
    from exspy.material import elements

    masses = [elements[line.split("_")[0]].General_properties.atomic_weight for line in lines]
    return np.array(factors) / masses


def _covariances(loadings: np.ndarray, spectra: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the intensities of each component's lines."""
    # Channels that count alike in all lines are taken together.
    sets, places = np.unique(weights, axis=1, return_inverse=True)
    sums = np.zeros((len(spectra), sets.shape[1]))
    np.add.at(sums.T, np.ravel(places), spectra.T)
    used = sets.any(0)
    variances = sum_variances(loadings, sums[:, used])
    return np.einsum("ls,ks,ms->klm", sets[:, used], variances, sets[:, used])


def _warn_of_unseen(unseen: np.ndarray) -> None:
    """Say which components have no lines."""
    if unseen.any():
        warn(
            f"No line of component {', '.join(map(str, np.flatnonzero(unseen)))} is more than "
            f"{_SEEN:g} standard errors above the background beside it, so no composition is known."
        )


def _warn_of_negative(lines: list[str], intensities, noise, factors, seen) -> None:
    """Say which of the components that have lines have less than nothing of which one."""
    amounts = factors * intensities
    least = -_NOISE / 100 * np.maximum(amounts, 0).sum(1, keepdims=True)
    negative = [
        f"{lines[n]} in component {k}: {intensities[k, n]:.5g} ± {noise[k, n]:.3g}"
        for n, k in np.argwhere((amounts < least).T & seen)
    ]
    if negative:
        warn(
            "Lines are below the background beside them, and so are parts of the compositions, or "
            f"none is known (counts of {'; '.join(negative)}). Leave these lines out with "
            "without_lines, or pass another line_width or add_elements if a line of another "
            "element is in the background.",
        )
