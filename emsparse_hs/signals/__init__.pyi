from ._beam_deflection import BeamDeflection
from ._bravais_probabilities import BravaisProbabilities
from ._electric_field import ElectricField
from ._kikuchi_bands import KikuchiBands
from ._lazy_beam_deflection import LazyBeamDeflection
from ._lazy_bravais_probabilities import LazyBravaisProbabilities
from ._lazy_electric_field import LazyElectricField
from ._lazy_kikuchi_bands import LazyKikuchiBands
from ._lazy_magnetic_induction import LazyMagneticInduction
from ._lazy_tilt_series import LazyTiltSeries
from ._lazy_tomogram import LazyTomogram
from ._magnetic_induction import MagneticInduction
from ._phase_lattice import PhaseLattice
from ._scan_lattice import ScanLattice
from ._tilt_series import TiltSeries
from ._tomogram import Tomogram
from ._unit_cell_model import UnitCellModel

__all__ = [
    "BeamDeflection",
    "BravaisProbabilities",
    "ElectricField",
    "KikuchiBands",
    "LazyBeamDeflection",
    "LazyBravaisProbabilities",
    "LazyElectricField",
    "LazyKikuchiBands",
    "LazyMagneticInduction",
    "LazyTiltSeries",
    "LazyTomogram",
    "MagneticInduction",
    "PhaseLattice",
    "ScanLattice",
    "TiltSeries",
    "Tomogram",
    "UnitCellModel",
]
