# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Checks of the estimators' parameters."""

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
