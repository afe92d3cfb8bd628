from . import data, decomposition, ebsd, plotting, signals, stem4d, tomography
from ._version import __version__
from .blocks import Blocks
from .decomposition import PoissonNMF, SparseNMF

__all__ = [
    "Blocks",
    "PoissonNMF",
    "SparseNMF",
    "__version__",
    "data",
    "decomposition",
    "ebsd",
    "plotting",
    "signals",
    "stem4d",
    "tomography",
]
