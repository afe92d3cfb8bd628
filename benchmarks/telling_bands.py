# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How strong the bands are that tell a lattice from those with a smaller cell.

Potassium and chlorine scatter nearly alike, so that KCl shows the bands of a primitive cubic
lattice of half the edge, and next to nothing else. No look at bands can be sure of such a lattice.
"""

import numpy as np
from kikuchi_truth import Crystal, find_reflectors

from emsparse_hs.ebsd.superlattices import superlattices

#: How many times smaller cells are that a lattice is compared with. A quarter of the cell lacks
#: all bands that a half, of which it is a half, lacks: no need to look at it.
INDICES = (2, 3)


def telling_strength(crystal: Crystal) -> float:
    """Strength of the strongest band that a smaller cell does not have, over that of all bands.

    The least of all smaller cells. Strengths are Fourier coefficients of the potential.
    """
    reflectors = find_reflectors(crystal)
    g = reflectors.lengths[:, None] * reflectors.normals
    indices = g @ crystal.primitive_cell.T
    least = 1.0
    for smaller in np.concatenate([np.linalg.inv(superlattices(n)) for n in INDICES]):
        in_smaller = indices @ smaller
        tells = np.abs(in_smaller - np.rint(in_smaller)).max(axis=1) > 1e-3
        least = min(least, reflectors.strengths[tells].max(initial=0) / reflectors.strengths[0])
    return float(least)
