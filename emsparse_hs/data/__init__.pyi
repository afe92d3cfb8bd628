from ._examples import (
    needle,
    nickel_patterns,
    simulated_domains,
    simulated_patterns,
    simulated_phases,
    simulated_scan,
    simulated_spectrum_image,
    simulated_tilt_series,
    spectrum_image,
)
from ._registry import Entry, about, names, path
from ._simulated_domains import ConvergentBeamTable, SimulatedDomains
from ._simulated_patterns import SimulatedPatterns
from ._simulated_phases import SimulatedPhases
from ._simulated_scan import SimulatedScan
from ._simulated_spectra import SimulatedSpectra
from ._simulated_tilt_series import SimulatedTiltSeries

__all__ = [
    "ConvergentBeamTable",
    "Entry",
    "SimulatedDomains",
    "SimulatedPatterns",
    "SimulatedPhases",
    "SimulatedScan",
    "SimulatedSpectra",
    "SimulatedTiltSeries",
    "about",
    "names",
    "needle",
    "nickel_patterns",
    "path",
    "simulated_domains",
    "simulated_patterns",
    "simulated_phases",
    "simulated_scan",
    "simulated_spectrum_image",
    "simulated_tilt_series",
    "spectrum_image",
]
