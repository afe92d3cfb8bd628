# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What is found of the composition of components."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hyperspy.signal import BaseSignal

from emsparse_hs._tables import html_table, text_table


class Compositions(list[BaseSignal]):
    """Percent of each element in each component, shown as a table.

    As a list it has one signal an element, along the components, as from exSpy's
    `quantification`.

    Attributes
    ----------
    lines, elements : list of str
        Of each signal, such as "Fe_Ka" and "Fe".
    units : str
        "atomic" or "weight".
    compositions : float64 array of shape (n_components, n_elements)
        Percent; NaN where a line was left out of a component.
    errors : float64 array of shape (n_components, n_elements)
        Their standard errors.
    """

    def __init__(self, signals: Iterable[BaseSignal], errors: np.ndarray, units: str) -> None:
        super().__init__(signals)
        self.errors = errors
        self.units = units

    @property
    def lines(self) -> list[str]:
        """Line of each signal."""
        return [signal.metadata.Sample.xray_lines[0] for signal in self]

    @property
    def elements(self) -> list[str]:
        """Element of each signal."""
        return [signal.metadata.Sample.elements[0] for signal in self]

    @property
    def compositions(self) -> np.ndarray:
        """Percent, one row a component."""
        return np.stack([np.ravel(signal.data) for signal in self], axis=-1)

    def _table(self) -> tuple[str, list[str], list[list[str]]]:
        rows = [
            [str(k), *map(_cell, *values)]
            for k, values in enumerate(zip(self.compositions, self.errors, strict=True))
        ]
        return f"{self.units.capitalize()} percent", ["Component", *self.lines], rows

    def __repr__(self) -> str:
        """Table of compositions and their errors."""
        return text_table(*self._table()) if self else "No compositions"

    def _repr_html_(self) -> str:
        return html_table(*self._table()) if self else "No compositions"


def _cell(percent: float, error: float) -> str:
    if np.isnan(percent):
        return "–"
    # So few counts say nothing, and how little is no matter.
    if error >= 100:
        return f"{percent:.0f} ± >100"
    # One digit of the error at least, unless it is none.
    digits = int(-np.floor(np.log10(error))) if 1e-6 < error < 0.005 else 2
    return f"{percent:.{digits}f} ± {error:.{digits}f}"
