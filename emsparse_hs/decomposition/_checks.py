# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Checks of the estimators' parameters, and of data."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def check_whole(estimator, name: str, lowest: int = 1) -> None:
    """Refuse a parameter that is no whole number from `lowest` on."""
    value = getattr(estimator, name)
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name}={value!r}, and a whole number from {lowest} on is needed.")


def check_number(estimator, name: str, lowest: float = 0.0, highest: float = np.inf) -> None:
    """Refuse a parameter that is no finite number from `lowest` to `highest`."""
    value = getattr(estimator, name)
    if not is_number(value) or not lowest <= float(value) <= highest:
        span = f"from {lowest:g} on" if highest == np.inf else f"from {lowest:g} to {highest:g}"
        raise ValueError(f"{name}={value!r}, and a number {span} is needed.")


def check_choice(estimator, name: str, choices: tuple[Any, ...]) -> None:
    """Refuse a parameter that is none of the choices."""
    value = getattr(estimator, name)
    if not isinstance(value, str | bool | np.bool_ | None) or value not in choices:
        listed = " or ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r} is not known. Use {listed}.")


def is_number(value) -> bool:
    """Whether it is a finite real number."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and np.isfinite(float(value))
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
    if data.dtype.kind != "f":
        return
    bad = data.size - int(np.count_nonzero(np.abs(data) <= np.finfo(np.float32).max))
    if bad:
        raise ValueError(
            f"NaN or infinity in data: {bad} counts are NaN, inf or above the range of float32. "
            "Leave those pixels or channels out with a mask, or replace them with "
            "numpy.nan_to_num."
        )
