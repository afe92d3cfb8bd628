# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for spectrum images."""

from __future__ import annotations

from emsparse_hs.accessor._base import SignalMethods


class SpectrumMethods(SignalMethods):
    """Methods for spectrum images: EDS, EELS, optical."""

    _kind = "spectra"
    _made_by = "Move the spectra to the signal axis with s.transpose(signal_axes=1)."
