# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What a result keeps of the signal it was made of."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal


def kept_metadata(signal: BaseSignal) -> dict[str, Any]:
    """Metadata on specimen and microscope, which are true of a result too.

    Parameters
    ----------
    signal : BaseSignal
        What the result is made of.

    Returns
    -------
    dict
        Copies of the nodes General, Acquisition_instrument and Sample, as far as they are there.
    """
    tree = signal.metadata.as_dictionary()
    nodes = ("General", "Acquisition_instrument", "Sample")
    return {name: deepcopy(tree[name]) for name in nodes if name in tree}
