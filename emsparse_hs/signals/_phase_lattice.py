# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The lattice of one phase, and what is done with it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs._optional import require
from emsparse_hs.ebsd._joint import FEWEST_BANDS
from emsparse_hs.ebsd.bravais import BRAVAIS_LATTICES, Symmetry
from emsparse_hs.ebsd.geometry import as_pattern_centre, corrected_centre
from emsparse_hs.ebsd.known_cells import relative_strain
from emsparse_hs.ebsd.posterior import cell_parameters, symmetric_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from orix.crystal_map import Phase

    from emsparse_hs.ebsd import LatticeSolution

#: Symmorphic space group of each lattice's full symmetry (International Tables for
#: Crystallography A).
SPACE_GROUPS = {
    "aP": 2, "mP": 10, "mC": 12, "oP": 47, "oC": 65, "oI": 71, "oF": 69, "tP": 123, "tI": 139,
    "hR": 166, "hP": 191, "cP": 221, "cI": 229, "cF": 225,
}  # fmt: skip
#: The monoclinic ones with c as the unique axis: P112/m, and A112/m by diffpy's number.
C_UNIQUE_GROUPS = {"mP": 10, "mC": 4012}
#: Share of patterns that don't fit, above which there is a warning.
_MISFITS = 0.2


class PhaseLattice:
    """The lattice of a phase, from all of its patterns.

    What `emsparse_hs.ebsd.LatticeSolution` holds is here under the same names: `lattice`,
    `probabilities`, `parameters`, `errors`, `cell`, `conventional_cell`, `hypotheses`,
    `superlattices`, `orientations`, `centre_errors`, `explained`, `fits`, `residuals`,
    `dissent`, `log_evidence`.

    Parameters
    ----------
    solution : LatticeSolution
        Of the patterns of the phase.
    patterns : bool array of the scan's shape
        Which patterns those are; everything that is told of each pattern is in their order.
    label : int
        Of these patterns.
    """

    def __init__(self, solution: LatticeSolution, patterns: np.ndarray, label: int = 0):
        self.solution = solution
        self.patterns = patterns
        self.label = label

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "solution":
            raise AttributeError(name)
        if not hasattr(self.solution, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.solution, name)

    def __dir__(self):
        return [*super().__dir__(), *(n for n in dir(self.solution) if not n.startswith("_"))]

    def __repr__(self) -> str:
        return repr(self.solution).replace("LatticeSolution", "PhaseLattice")

    def to_phase(
        self,
        name: str | None = None,
        element: str = "Fe",
        lattice: str | None = None,
        unique_axis: str = "c",
    ) -> Phase:
        """A phase for indexing, with the symmetry of the most probable lattice.

        The atoms are not known: one of `element` sits on each lattice point, so that all of the
        lattice's reflections are there.

        Parameters
        ----------
        name : str, optional
            Of the phase. The lattice's symbol by default.
        element : str
            Symbol of the atoms that stand for the real ones.
        lattice : str, optional
            Another of the lattices that the cell may have, such as "cF". The most probable by
            default.
        unique_axis : "c" or "b"
            Of monoclinic lattices: "c" is where orix has the two-fold axis, so that misorientations
            and colours come out right; "b" is that of `parameters`, of PyEBSDIndex and EMsoft.

        Returns
        -------
        orix.crystal_map.Phase

        Raises
        ------
        ValueError
            If there is no lattice, or not that one, or none is more probable than 'unknown', or the
            unique axis is another one.
        ImportError
            If orix is not installed.
        """
        if unique_axis not in ("b", "c"):
            raise ValueError(f"unique_axis is {unique_axis!r}, and must be 'b' or 'c'.")
        symmetry = self._symmetry_of(self.solution.lattice if lattice is None else lattice)
        lattice = symmetry.lattice
        crystal_map = require("orix.crystal_map", "ebsd")
        structure = require("diffpy.structure", "ebsd")
        cell, group = symmetric_cell(self.solution.cell, symmetry), SPACE_GROUPS[lattice]
        if unique_axis == "c" and lattice in C_UNIQUE_GROUPS:
            cell, group = np.roll(cell, 1, axis=0), C_UNIQUE_GROUPS[lattice]
        atoms = [structure.Atom(element, [0, 0, 0])]
        return crystal_map.Phase(
            name=lattice if name is None else name,
            space_group=group,
            structure=structure.Structure(atoms, structure.Lattice(*cell_parameters(cell))),
        )

    def _symmetry_of(self, lattice: str) -> Symmetry:
        """The most probable symmetry of the cell that is of a lattice."""
        if not self.solution.hypotheses:
            raise ValueError(
                "These patterns have no lattice, so that there is no phase. Look at their bands "
                "with bands.plot_on(patterns): there may be too few. The pattern centre may be "
                "wrong too, which such a figure does not show."
            )
        for hypothesis in self.solution.hypotheses:
            if hypothesis.symmetry.lattice == lattice:
                return hypothesis.symmetry
        likely = zip(BRAVAIS_LATTICES, self.solution.probabilities, strict=False)
        said = ", ".join(f"{name} ({p:.0%})" for name, p in likely if p > 0.005)
        raise ValueError(
            f"The lattice {lattice!r} is none that this cell may have: {said}. Pass one of those "
            "as lattice, or find it anew, from more orientations or with fewer, more certain bands "
            "(n_bands, min_contrast)."
        )

    def strain_relative_to(self, reference: PhaseLattice) -> np.ndarray:
        """Deviatoric strain of this lattice relative to another of the same phase.

        Parameters
        ----------
        reference : PhaseLattice
            Such as that of an unstrained region.

        Returns
        -------
        float64 array of shape (3, 3)
            See `emsparse_hs.ebsd.relative_strain`, in the crystal's frame of the reference. It is
            known but for the lattice's own symmetry. Errors are those of both cells.

        Raises
        ------
        ValueError
            If one of them has no cell, or they are not of the same phase.
        TypeError
            If the reference is no PhaseLattice.
        """
        for one in (self, reference):
            if not isinstance(one, PhaseLattice):
                raise TypeError(
                    f"The reference is a {type(one).__name__}, and strain is relative to another "
                    "PhaseLattice, such as that of an unstrained region."
                )
            if not np.isfinite(one.solution.cell).all():
                raise ValueError(f"{one!r} has no cell, and so there is no strain.")
        return relative_strain(self.solution.cell, reference.solution.cell)

    def corrected_pattern_centre(self, pattern_centre, shape=None) -> np.ndarray:
        """Pattern centres without the error that the patterns of this phase show in the mean.

        That of single patterns, `centre_errors`, is less certain. Where orientations are fewer than
        four, a strained cell with a right centre and an unstrained one with a wrong centre look
        alike, and hardly anything is corrected: there is a warning.

        Parameters
        ----------
        pattern_centre : EBSDDetector, or array of shape (3,) or (..., 3)
            What bands were detected with: ``p.detector``, or centres in Bruker's convention.
        shape : tuple of int, optional
            Height and width of a pattern in px, where no detector is given.

        Returns
        -------
        float64 array of shape (3,) or (..., 3)
            For ``p.detector.pc``, to detect bands anew or to index with.

        Raises
        ------
        ValueError
            If there is no lattice, a value is no pattern centre, or the shape is not known.
        """
        if not np.isfinite(self.solution.centre_errors).any():
            raise ValueError(
                "These patterns have no lattice, so that nothing is known of their pattern centres."
            )
        if hasattr(pattern_centre, "pc"):
            pattern_centre, shape = pattern_centre.pc, pattern_centre.shape
        if np.shape(shape) != (2,):
            raise ValueError(
                f"The shape of a pattern is {shape}, and (height, width) in px is needed. Pass "
                "p.detector, or p.detector.pc and p.detector.shape."
            )
        if np.isnan(self.solution.shared_centre_error).any():
            warnings.warn(
                "The patterns have fewer than four orientations, so that an error of all pattern "
                "centres can't be told from a strain. Take patterns of more grains.",
                stacklevel=2,
            )
        centres = np.asarray(pattern_centre, dtype=np.float64)
        as_pattern_centre(centres.reshape(-1, 3) if centres.shape[-1:] == (3,) else centres)
        return corrected_centre(centres, np.nanmean(self.solution.centre_errors, axis=0), shape)

    def plot(self, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
        """Plot the probabilities of the lattices, and the cell with its errors.

        Parameters
        ----------
        figure : Figure or SubFigure, optional
            To draw in. A new one by default.

        Returns
        -------
        Figure or SubFigure
            See `emsparse_hs.plotting.plot_lattice`.
        """
        from emsparse_hs.plotting import plot_lattice

        return plot_lattice(self, figure=figure)


def warn_of_few_bands(enough: np.ndarray, which: str, stacklevel: int) -> bool:
    """Say so if most patterns have fewer bands than a lattice needs; whether it was said."""
    if np.mean(enough) >= 0.5:
        return False
    warnings.warn(
        f"{np.count_nonzero(enough)} of {np.size(enough)} patterns{which} have the {FEWEST_BANDS} "
        "bands that a lattice needs: raise n_bands or lower min_contrast, or look at them with "
        "bands.plot_on(patterns).",
        stacklevel=stacklevel,
    )
    return True


def warn_of_misfits(lattice: PhaseLattice, label, stacklevel: int) -> None:
    """Say so if patterns of a label are of another phase, or many don't show its lattice."""
    dissent = lattice.solution.dissent
    others = np.count_nonzero(dissent > 0)
    if others:
        warnings.warn(
            f"Patterns with the label {label} disagree: a cell other than that of {lattice!r} "
            f"explains {others} of the {np.isfinite(dissent).sum()} that it was found from better, "
            "and at least one of these far better. There are probably two phases under the label. "
            "lattice.dissent says which of those patterns are of the other one, and "
            "bands.cluster_patterns() makes labels of all.",
            stacklevel=stacklevel,
        )
        return
    if lattice.solution.lattice == "unknown":
        return
    misfits = 1 - np.mean(lattice.solution.fits)
    if misfits > _MISFITS:
        warnings.warn(
            f"{misfits:.0%} of the patterns with the label {label} don't fit its lattice "
            f"{lattice.solution.lattice}: there may be two phases under it, or patterns without "
            "bands. lattice.fits says which fit.",
            stacklevel=stacklevel,
        )


def warn_of_shared_error(lattice: PhaseLattice, label, stacklevel: int) -> None:
    """Say so if all pattern centres are wrong alike."""
    error = np.nan_to_num(lattice.solution.shared_centre_error)
    if not error.any():
        return
    x, y, farther = error
    warnings.warn(
        f"All pattern centres seem to be wrong alike, by the patterns with the label {label}: the "
        f"right one is {x:+.3f} to the right and {y:+.3f} up, over the distance of the screen, "
        f"and the distance is {farther:+.1%}. The lattice takes that into account. "
        "lattice.corrected_pattern_centre(p.detector) is the right one for all that follows.",
        stacklevel=stacklevel,
    )
