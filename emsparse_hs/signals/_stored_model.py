# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How a model of unit cells is stored: as a signal whose metadata hold its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hyperspy.signals import BaseSignal

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.compression import CellDictionary
from emsparse_hs.unit_cell.fitting import DomainFit
from emsparse_hs.unit_cell.segmentation import Split

if TYPE_CHECKING:
    from emsparse_hs.signals._unit_cell_model import UnitCellModel

#: Where in the metadata.
_NODE = "Unit_cell_model"


def as_signal(model: UnitCellModel) -> BaseSignal:
    """All of a model in one signal, whose data are its patterns.

    Parameters
    ----------
    model : UnitCellModel
        To store.

    Returns
    -------
    BaseSignal
    """
    arrays = _arrays(model)
    patterns = arrays.pop("patterns")
    signal = BaseSignal(patterns)
    signal.metadata.General.title = "Patterns of a model of unit cells"
    rest = {
        "n_atoms": model.cells.n_atoms,
        "splits": [[float(value) for value in split] for split in model.splits],
        "variant_trials": [[float(value) for value in trial] for trial in model.variant_trials],
        "axes": [dict(axis) for axis in model.like["axes"]],
        "metadata": model.like["metadata"],
        "signal_type": model.like["signal_type"],
        "nbytes": model.like["nbytes"],
        "dose_per_count": model.like["dose_per_count"],
        "sums": model.sums.astype(np.float32),
        "singular_values": model.cells.singular_values,
        "slow": model.fit.slow.astype(np.float16),
    }
    signal.metadata.add_dictionary({_NODE: arrays | rest})
    return signal


def stored_size(model: UnitCellModel) -> int:
    """Bytes of what the reconstruction needs.

    Parameters
    ----------
    model : UnitCellModel
        To store.

    Returns
    -------
    int
        As they are stored, before compression of the file.
    """
    return sum(array.nbytes for array in _arrays(model).values())


def _arrays(model: UnitCellModel) -> dict[str, np.ndarray]:
    """What the reconstruction needs, in the dtypes of the file."""
    cells, fit = model.cells, model.fit
    # Neither overflows float16, nor loses small values to its coarse end.
    strength = np.abs(cells.patterns).max(1, initial=1e-30)
    size = np.abs(cells.coefficients).max(0, initial=1e-30)
    arrays = {
        "patterns": (cells.patterns / strength[:, np.newaxis]).astype(np.float16),
        "coefficients": (cells.coefficients / size).astype(np.float16),
        "scale": np.stack([strength, size]).astype(np.float32),
        "mean": cells.mean,
        "lattice_of": np.asarray(cells.lattice_of, np.int8),
        "labels": fit.labels,
        "amounts": fit.abundances.astype(np.float16),
        "reciprocal": fit.alignment.reciprocal,
        "row_shift": fit.alignment.row_shift.astype(np.float32),
        "nodes": fit.alignment.nodes.astype(np.float32),
    }
    return arrays | {f"indices_{k}": own.astype(np.int8) for k, own in enumerate(cells.indices)}


def from_signal(signal: BaseSignal, kind: type) -> Any:
    """The model in a signal.

    Parameters
    ----------
    signal : BaseSignal
        From `as_signal`.
    kind : type
        UnitCellModel.

    Returns
    -------
    UnitCellModel

    Raises
    ------
    ValueError
        If the signal holds none.
    """
    from emsparse_hs.unit_cell.selection import VariantTrial

    stored = signal.metadata.get_item(_NODE, default=None)
    if stored is None:
        raise ValueError(
            f"{signal!r} is no model of unit cells. Pass a file that model.save() wrote."
        )
    stored = stored.as_dictionary()
    splits = [Split._make([*split[:-1], bool(split[-1])]) for split in stored["splits"]]
    trials = [VariantTrial(int(n), *rest) for n, *rest in stored["variant_trials"]]
    like = {
        key: stored[key] for key in ("axes", "metadata", "signal_type", "nbytes", "dose_per_count")
    }
    return kind(
        _fit(stored, splits), _dictionary(stored, signal.data), stored["sums"], like, trials
    )


def _fit(stored: dict, splits: list[Split]) -> DomainFit:
    shape = stored["labels"].shape
    n = len(stored["reciprocal"])
    alignment = Alignment(
        np.asarray(stored["reciprocal"], float),
        np.asarray(stored["row_shift"], float),
        np.asarray(stored["nodes"], float),
        shape,
        np.full((n, 4, 4), np.nan),
    )
    return DomainFit(
        alignment,
        stored["labels"],
        stored["lattice_of"].astype(int),
        stored["amounts"].astype(np.float32),
        stored["slow"].astype(np.float32),
        splits,
    )


def _dictionary(stored: dict, patterns: np.ndarray) -> CellDictionary:
    strength, size = stored["scale"]
    count = sum(name.startswith("indices_") for name in stored)
    return CellDictionary(
        stored["coefficients"].astype(np.float32) * size,
        patterns.astype(np.float32) * strength[:, np.newaxis],
        stored["mean"],
        [stored[f"indices_{k}"].astype(int) for k in range(count)],
        stored["lattice_of"].astype(int),
        int(stored["n_atoms"]),
        stored["singular_values"],
    )
