from .bands import plot_bands, plot_radon
from .decomposition import plot_components
from .lattice import plot_lattice, plot_lattice_map
from .phases import plot_phases
from .profile import plot_profile
from .residuals import plot_residuals
from .selection import plot_n_components
from .tomogram import plot_convergence, plot_orthogonal_slices, plot_sinogram
from .unit_cells import plot_scan_lattice, plot_unit_cells
from .vector_field import plot_vector_field

__all__ = [
    "plot_bands",
    "plot_components",
    "plot_convergence",
    "plot_lattice",
    "plot_lattice_map",
    "plot_n_components",
    "plot_orthogonal_slices",
    "plot_phases",
    "plot_profile",
    "plot_radon",
    "plot_residuals",
    "plot_scan_lattice",
    "plot_sinogram",
    "plot_unit_cells",
    "plot_vector_field",
]
