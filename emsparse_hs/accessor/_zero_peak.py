# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The channels of an EDS map in which no X-rays are."""

from __future__ import annotations

import logging

import numpy as np
from hyperspy.signal import BaseSignal

#: End of the peak that detectors put at zero energy, in keV. It is there with or without X-rays,
#: often the highest one, and its counts are not Poisson distributed. Lines from those of boron
#: (0.183 keV) on are above it.
ZERO_PEAK = 0.12

_KILO_ELECTRON_VOLTS = {"keV": 1.0, "eV": 1e-3}

_logger = logging.getLogger(__name__)


def without_zero_peak(signal: BaseSignal, signal_mask):
    """The mask that is given, or else one of the channels of the zero peak, saying so once.

    Parameters
    ----------
    signal : BaseSignal
        Of any kind; only those of EDS are masked, where zero energy is on their axis.
    signal_mask : BaseSignal, bool array or None
        As the user gave it.

    Returns
    -------
    BaseSignal, bool array or None
        True where left out.
    """
    axes = signal.axes_manager.signal_axes
    if signal_mask is not None or len(axes) != 1 or not signal._signal_type.startswith("EDS"):
        return signal_mask
    unit = _KILO_ELECTRON_VOLTS.get(str(axes[0].units))
    energies = None if unit is None else axes[0].axis * unit
    if energies is None or not energies.min() <= 0 < ZERO_PEAK < energies.max():
        return None
    mask = energies < ZERO_PEAK
    if signal.tmp_parameters.get_item("zero_peak_is_left_out"):
        return mask
    signal.tmp_parameters.set_item("zero_peak_is_left_out", True)
    _logger.warning(
        "%d channels below %g keV are left out, where the zero peak of EDS detectors is. Pass "
        "signal_mask to choose yourself: np.zeros(%d, bool) leaves nothing out.",
        np.count_nonzero(mask),
        ZERO_PEAK,
        mask.size,
    )
    return mask
