# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Maps of a scan as signals: steps and units, variance, and images of what was calculated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from hyperspy.signals import LazySignal1D, Signal1D, Signal2D

from emsparse_hs.signals._provenance import kept_metadata

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Where HyperSpy keeps the variance of a signal.
_VARIANCE = "Signal.Noise_properties.variance"

#: Size of the units of length in nm, as files spell them.
_LENGTHS = {
    "pm": 1e-3,
    **dict.fromkeys(("a", "å", "\u212b", "angstrom"), 0.1),
    "nm": 1.0,
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm"), 1e3),
    "mm": 1e6,
    "m": 1e9,
}


def variance_of(signal: BaseSignal) -> Any:
    """Variance that HyperSpy keeps with a signal.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy.

    Returns
    -------
    numpy or dask array of the shape of the data, or None
        None if there is none.
    """
    variance = signal.metadata.get_item(_VARIANCE, default=None)
    if variance is None:
        return None
    variance = getattr(variance, "data", variance)
    like = da if isinstance(signal.data, da.Array) else np
    return like.broadcast_to(variance, signal.data.shape)


def set_variance(signal: BaseSignal, variance: Any) -> None:
    """Keep the variance of a map of vectors with it, where HyperSpy slices and rebins it too.

    Parameters
    ----------
    signal : BaseSignal
        One signal axis.
    variance : numpy or dask array of the shape of the data, or None
        None removes it.
    """
    if signal.metadata.has_item("Signal.Noise_properties"):
        del signal.metadata.Signal.Noise_properties
    if variance is not None:
        signal.metadata.set_item(_VARIANCE, plain(signal, variance))


def plain(signal: BaseSignal, data: Any) -> Signal1D:
    """Signal of no special type with the axes of a map of vectors.

    Parameters
    ----------
    signal : BaseSignal
        One signal axis.
    data : numpy or dask array
        Of the same shape.

    Returns
    -------
    Signal1D or LazySignal1D
        Without metadata.
    """
    axes = [axis.get_axis_dictionary() for axis in signal.axes_manager._axes]
    return (LazySignal1D if isinstance(data, da.Array) else Signal1D)(data, axes=axes)


def computed(signal: BaseSignal) -> tuple[np.ndarray, np.ndarray | None]:
    """Data and variance of a map, both in one pass over the frames behind a lazy one.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy.

    Returns
    -------
    data, variance : numpy arrays
        The variance is None if there is none.
    """
    data, variance = dask.compute(signal.data, variance_of(signal))
    # A copy, since a result that shared it would change with it.
    return np.asarray(data), None if variance is None else np.array(variance)


def eager_twin(signal: BaseSignal, data: np.ndarray, variance: np.ndarray | None) -> Any:
    """Signal of the same class, axes and metadata, with other values that are computed.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy. Not changed.
    data, variance : numpy arrays
        Of the same shape. The variance may be None.

    Returns
    -------
    BaseSignal
        Never lazy.
    """
    twin = signal._deepcopy_with_new_data(data)
    twin._lazy = False
    twin._assign_subclass()
    set_variance(twin, variance)
    return twin


def scan_step(signal: BaseSignal) -> tuple[tuple[float, float], str]:
    """Distance between positions of a scan along y and x, and its unit.

    Parameters
    ----------
    signal : BaseSignal
        The last two axes of its navigation, in the order of the array, are the scan.

    Returns
    -------
    (step_y, step_x), unit
        The unit is "px" for axes that have none.

    Raises
    ------
    ValueError
        If the scan has not two uniform axes of the same unit.
    """
    axes = signal.axes_manager.navigation_axes[:2]
    if len(axes) < 2:
        raise ValueError(
            f"{signal!r} has {len(axes)} navigation axes, and a scan of two is needed to know how "
            "the vectors change along x and y."
        )
    if not all(axis.is_uniform for axis in axes):
        raise ValueError(
            "The positions of the scan are not evenly spaced. Resample first, such as with "
            "s.interpolate_on_axis(axis, ...) for each axis of the scan."
        )
    units = [
        "px" if str(axis.units) in ("<undefined>", "None", "") else axis.units for axis in axes
    ]
    if units[0] != units[1]:
        raise ValueError(
            f"The axes of the scan are in {units[0]} and {units[1]}. Convert one of them, such as "
            's.axes_manager[0].convert_to_units("nm").'
        )
    return (float(axes[1].scale), float(axes[0].scale)), units[0]


def scan_step_in_nm(signal: BaseSignal) -> tuple[float, float]:
    """Distance between positions of a scan along y and x in nm.

    Parameters
    ----------
    signal : BaseSignal
        The first two of its navigation axes are the scan.

    Returns
    -------
    (float, float)
        Along y and x.

    Raises
    ------
    ValueError
        If the scan has not two uniform axes of the same unit of length.
    """
    step, units = scan_step(signal)
    size = _LENGTHS.get(units if units == "m" else units.strip().lower())
    if size is None:
        raise ValueError(
            f"The axes of the scan are in {units}, and a length is needed. Set their scale and "
            'units, such as s.axes_manager[0].units = "nm"; known are pm, Å, nm, µm, mm and m.'
        )
    return step[0] * size, step[1] * size


def scan_image(
    signal: BaseSignal, data: np.ndarray, quantity: str, variance: np.ndarray | None = None
) -> Signal2D:
    """What was calculated from a map of vectors, as an image of the scan.

    Parameters
    ----------
    signal : BaseSignal
        The map of vectors, of which axes and metadata on specimen and microscope are kept.
    data : array
        Of the shape of the navigation.
    quantity : str
        What it is, with its unit in brackets.
    variance : array of the same shape, optional
        Of the image.

    Returns
    -------
    Signal2D
        Axes beyond the two of the scan stay navigation axes.
    """
    axes = [axis.get_axis_dictionary() for axis in signal.axes_manager.navigation_axes[::-1]]
    for axis in axes[-2:]:
        axis["navigate"] = False
    image = Signal2D(data, axes=axes, metadata=kept_metadata(signal))
    image.metadata.set_item("Signal.quantity", quantity)
    if variance is not None:
        image.metadata.set_item(_VARIANCE, Signal2D(variance, axes=axes))
    return image


def beam_energy_of(signal: BaseSignal) -> float:
    """Beam energy from the metadata.

    Parameters
    ----------
    signal : BaseSignal
        Any signal.

    Returns
    -------
    float
        In keV.

    Raises
    ------
    ValueError
        If it is not there.
    """
    path = "Acquisition_instrument.TEM.beam_energy"
    beam_energy = signal.metadata.get_item(path, default=None)
    if beam_energy is None:
        raise ValueError(
            "The field depends on the beam energy, which is not known. Pass beam_energy=300 "
            f"(in keV), or set it with s.metadata.set_item({path!r}, 300)."
        )
    return beam_energy
