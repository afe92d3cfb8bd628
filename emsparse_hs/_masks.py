# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""HyperSpy's forms of a mask as one array of what is kept."""

from __future__ import annotations

import numpy as np
from hyperspy.signal import BaseSignal

_EXAMPLES = {
    "navigation": "(s.sum(axis='sig') == 0)",
    "signal": "(s.sum(axis='nav') == 0)",
}


def as_mask(mask, shape: tuple[int, ...], name: str, flip: bool = False) -> np.ndarray | None:
    """One bool array in the order of the data, True where left out.

    Parameters
    ----------
    mask : BaseSignal, numpy array, dask array or None
        True where left out.
    shape : tuple of int
        That the mask needs, in the order of the data.
    name : {"navigation", "signal"}
        What it masks, as said in errors.
    flip : bool
        Whether an array has HyperSpy's order (x, y) instead.

    Returns
    -------
    bool array or None
        None if there is no mask.

    Raises
    ------
    TypeError
        If the mask is not boolean, and no whole numbers 0 and 1.
    ValueError
        If it has another shape.
    """
    if mask is None:
        return None
    if isinstance(mask, BaseSignal):
        mask, flip = mask._data_aligned_with_axes, False
    mask = np.asarray(mask)
    # Files may have made whole numbers of True and False.
    if mask.dtype.kind not in "bui" or mask.max(initial=0) > 1 or mask.min(initial=0) < 0:
        raise TypeError(
            f"The {name} mask is of dtype {mask.dtype} and not just 0 and 1. Pass a boolean one, "
            f"True where data are left out, such as {_EXAMPLES[name]}."
        )
    needed = shape[::-1] if flip else shape
    if mask.shape != needed:
        raise ValueError(
            f"The {name} mask has shape {mask.shape}, and {needed} is needed"
            + _order(len(needed), flip)
            + f". Pass a signal to be safe, such as {_EXAMPLES[name]}."
        )
    return (mask.T if flip else mask).astype(bool)


def _order(dimension: int, flip: bool) -> str:
    """What is said of an array's order."""
    if flip:
        return ": an array in HyperSpy's order (x, y)"
    return ": an array in the order (y, x) of the data" if dimension == 2 else ""


def kept(mask: np.ndarray | None, shape: tuple[int, ...], name: str) -> np.ndarray:
    """What a mask keeps.

    Parameters
    ----------
    mask : bool array or None
        True where left out.
    shape : tuple of int
        That the mask needs.
    name : str
        What it masks, as said in errors.

    Returns
    -------
    bool array of that shape
        True where kept.

    Raises
    ------
    ValueError
        If the mask has another shape, or leaves nothing.
    """
    if mask is None:
        return np.ones(shape, bool)
    keep = ~np.asarray(mask, bool)
    if keep.shape != shape:
        raise ValueError(f"The {name} mask has shape {keep.shape}, and {shape} is needed.")
    if not keep.any():
        raise ValueError(
            f"The {name} mask leaves nothing: all {keep.size} elements are True, which means left "
            "out. Invert the mask with ~mask if it marks what to keep."
        )
    return keep
