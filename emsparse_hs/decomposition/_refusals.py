# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What is said of data that can't be decomposed."""

from __future__ import annotations

import numpy as np

#: What is said of data without any counts.
ALL_ZERO = "All values of the data are zero, or all that masks leave. There is nothing to find."


def refuse_stacked(data) -> None:
    """Say how a map becomes rows of pixels.

    Parameters
    ----------
    data : array, signal or anything
        As the user gave it; never read.

    Raises
    ------
    ValueError
        If there are more than two dimensions.
    """
    signal = hasattr(data, "axes_manager")
    shape: tuple[int, ...] = getattr(data.data if signal else data, "shape", ())
    if len(shape) > 2:
        name, advice = ("s.data", "use s.emsparse.decomposition, or ") if signal else ("data", "")
        raise ValueError(
            f"Data have {len(shape)} dimensions, {shape}, and 2 are needed, (pixels, features): "
            f"{advice}pass {name}.reshape(-1, {shape[-1]}), and to PoissonNMF's fit "
            f"scan={shape[:-1]} as well to have neighbours count."
        )


def refuse_negative(data: np.ndarray) -> None:
    """Say that data are no counts.

    Parameters
    ----------
    data : array
        Of any shape.

    Raises
    ------
    ValueError
        If there are negative values.
    """
    negative = int(np.count_nonzero(data < 0))
    if negative:
        raise ValueError(
            f"Negative values in data: {negative} counts are negative, the lowest is "
            f"{data[data < 0].min():g}. Add back what was subtracted, such as a background or a "
            "dark level: it becomes part of the components, also those of EELS with SparseNMF. To "
            "cut negative values off, as clip(0) does, leaves too much in all weak channels. Only "
            "WeightedGramPCA with scaling=None takes them."
        )


def refuse_not_finite(data: np.ndarray) -> None:
    """Say that data have values that are no numbers.

    Parameters
    ----------
    data : array
        Of any shape.

    Raises
    ------
    ValueError
        If values are NaN, infinite or beyond the range of float32.
    """
    most = np.finfo(np.float32).max
    # NaN is neither; nothing as large as the data is made unless there is something to tell.
    if data.dtype.kind != "f" or (data.min(initial=0) >= -most and data.max(initial=0) <= most):
        return
    bad = data.size - int(np.count_nonzero(np.abs(data) <= most))
    raise ValueError(
        f"NaN or infinity in data: {bad} counts are NaN, inf or above the range of float32. "
        "Leave those pixels or channels out with a mask, or replace them with numpy.nan_to_num."
    )
