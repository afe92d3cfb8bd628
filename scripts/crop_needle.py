# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Make ``needle_HAADF_aligned_crop.hspy`` from the aligned needle in etspy's wheel.

Usage: ``python scripts/crop_needle.py HAADF_Aligned.hspy [folder]``, where the first file is
``etspy/tests/test_data/HAADF_Aligned.hspy`` in the wheel of etspy 1.3.0 (NIST public licence).
"""

import sys
from pathlib import Path

import hyperspy.api as hs
import numpy as np

import emsparse_hs  # noqa: F401  (registers the signal classes)
from emsparse_hs.signals import TiltSeries

#: Layers of the needle along x; symmetric along y, so that the tilt axis stays in the centre.
X, Y = slice(84, 148), slice(80, 176)
FOLDER = Path(__file__).parents[1] / "emsparse_hs" / "data" / "files"


def crop(path: str | Path) -> TiltSeries:
    """Crop the series, with its tilts on the navigation axis, as counts in uint16."""
    whole = hs.load(path)
    tilts = whole.metadata.Tomography.tilts.data.ravel()
    axes = [
        {"name": "Projections", "size": len(tilts), "navigate": True},
        *(
            {"name": name, "size": part.stop - part.start, "scale": 3.36, "units": "nm"}
            for name, part in (("y", Y), ("x", X))
        ),
    ]
    counts = np.rint(whole.data[:, Y, X]).astype(np.uint16)
    series = TiltSeries(counts, axes=axes)
    series.set_tilts(tilts)
    series.metadata.General.title = "Needle, HAADF-STEM tilt series"
    series.metadata.set_item("Signal.quantity", "Intensity (counts)")
    series.metadata.set_item(
        "General.notes",
        "Aligned tilt series of etspy 1.3.0 (NIST), rounded to integers; columns "
        f"{X.start} to {X.stop - 1} and rows {Y.start} to {Y.stop - 1} of 256.",
    )
    return series


def main() -> None:
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER
    path = folder / "needle_HAADF_aligned_crop.hspy"
    crop(sys.argv[1]).save(
        path, overwrite=True, compression="gzip", compression_opts=9, shuffle=True
    )
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
