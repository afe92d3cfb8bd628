# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Two phases of a measured map: their lattices, and which one each pattern is.

Run it with ``python benchmarks/dual_phase_map.py MAP.ang``, a map of orix with the two phases
austenite and ferrite, such as orix's ``sdss_ferrite_austenite``. Noisy two-beam patterns with
jittered centres are made from the orientations of a part of it. Then what a user would do: bands,
the lattice of each phase by the map's labels, labels from the bands alone, the phase of each
pattern from these lattices, and a crystal map, of which ``--figure`` makes a picture.
"""

import argparse
import time
import warnings

import kikuchipy
import numpy as np
from kikuchi_truth import BEAM_ENERGY, OFFSET, PATTERN_CENTRE, Crystal, two_beam
from orix import io
from scipy.spatial.transform import Rotation

import emsparse_hs  # noqa: F401
from emsparse_hs.ebsd.geometry import pixel_directions

#: Edges of the cubic cells in angstrom, and the atoms in fractions of them.
EDGES = {"austenite": 3.60, "ferrite": 2.87}
ATOMS = {
    "austenite": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "ferrite": [[0, 0, 0], [0.5, 0.5, 0.5]],
}
LATTICES = {"austenite": "cF", "ferrite": "cI"}
NAMES = tuple(EDGES)


def crystal(name: str) -> Crystal:
    """Iron in the lattice of a phase."""
    atoms = np.array(ATOMS[name], float)
    numbers = np.full(len(atoms), 26)
    return Crystal(name, LATTICES[name], EDGES[name] * np.eye(3), atoms, numbers, 1, True)


def cut_out(xmap, corner, shape):
    """Labels, numbers in `NAMES`, and matrices from the specimen to the crystal of a part."""
    rows, columns = (slice(c, c + n) for c, n in zip(corner, shape, strict=True))
    part = xmap[rows, columns]
    named = {i: part.phases[i].name.split("/")[0] for i in np.unique(part.phase_id)}
    labels = np.array([NAMES.index(named[i]) for i in part.phase_id]).reshape(shape)
    return labels, part.rotations.to_matrix().reshape(*shape, 3, 3)


def make_patterns(labels, matrices, detector, options) -> np.ndarray:
    """Noisy patterns, (height, width, n_pixels, n_pixels)."""
    rng = np.random.default_rng(options.seed)
    intensities = [two_beam(crystal(name)) for name in NAMES]
    to_detector = detector.sample_to_detector.to_matrix().reshape(3, 3)
    shape = (options.pixels, options.pixels)
    images = np.empty((*labels.shape, *shape), np.float32)
    for place, label in np.ndenumerate(labels):
        centre = np.array(PATTERN_CENTRE) + rng.normal(0, options.jitter, 3)
        rays = pixel_directions(shape, centre).reshape(-1, 3)
        turn = matrices[place] @ to_detector.T
        image = intensities[label](rays @ turn.T).reshape(shape)
        image = (image - image.mean()) / image.std()
        images[place] = image + rng.normal(0, options.noise, shape)
    return images


def as_signal(images, detector):
    """A signal of kikuchipy with its detector and beam energy."""
    signal = kikuchipy.signals.EBSD(images, detector=detector)
    signal.metadata.set_item("Acquisition_instrument.SEM.beam_energy", BEAM_ENERGY)
    return signal


def misorientations(found, matrices, labels) -> np.ndarray:
    """Degrees between the map's orientations and those found, but for cubic symmetry."""
    turns = Rotation.create_group("O").as_matrix()
    angles = np.full(labels.size, np.nan)
    truth = matrices.reshape(-1, 3, 3)
    for place, matrix in zip(found.id, found.rotations.to_matrix(), strict=True):
        products = turns @ matrix @ truth[place].T
        cosine = (np.trace(products, axis1=1, axis2=2).max() - 1) / 2
        angles[place] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angles


def draw_figure(path: str, labels, phases, xmap, angles) -> None:
    """Phases of the map, those found, what is explained, and how far orientations are off."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    explained = np.full(labels.size, np.nan)
    explained[xmap.id] = xmap.prop["explained"]
    panels = {
        "phases of the map": labels,
        "most probable phase": phases,
        "share of bands explained": explained.reshape(labels.shape),
        "orientations off by (degrees)": angles.reshape(labels.shape),
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 8), layout="constrained")
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=True):
        figure.colorbar(ax.imshow(values, interpolation="nearest"), ax=ax)
        ax.set_title(title)
    figure.savefig(path)


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("map", help="of orix, with the phases austenite and ferrite")
    parser.add_argument("--corner", type=int, nargs=2, default=(30, 40), help="row and column")
    parser.add_argument("--shape", type=int, nargs=2, default=(20, 20), help="rows and columns")
    parser.add_argument("--pixels", type=int, default=80, help="width of a pattern")
    parser.add_argument("--noise", type=float, default=0.5, help="over the pattern's own spread")
    parser.add_argument("--jitter", type=float, default=0.003, help="of the pattern centre")
    parser.add_argument("--offset", **OFFSET, help="error of pattern centres")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="a file for it")
    return parser.parse_args()


def main() -> None:
    options = parse()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    labels, matrices = cut_out(io.load(options.map), options.corner, options.shape)
    shape = (options.pixels, options.pixels)
    detector = kikuchipy.detectors.EBSDDetector(shape=shape, sample_tilt=70, pc=PATTERN_CENTRE)
    signal = as_signal(make_patterns(labels, matrices, detector, options), detector)
    signal.detector.pc = np.add(PATTERN_CENTRE, options.offset)
    quiet = {"show_progressbar": False}
    start = time.process_time()
    lattices = signal.emsparse.estimate_lattice(labels, width_scale=1.0, **quiet)
    for label, lattice in lattices.items():
        print(f"{NAMES[label]}, {(labels == label).sum()} patterns: {lattice!r}")
    bands = signal.emsparse.detect_bands(60, **quiet)
    grouped = bands.cluster_patterns(width_scale=1.0, **quiet)
    counts = np.array([[(grouped[labels == i] == j).sum() for j in range(-1, 4)] for i in (0, 1)])
    found = [lattices[label].to_phase(NAMES[label]) for label in lattices]
    scores = bands.compare_phases(found, **quiet)
    phases = np.array(list(lattices))[np.nan_to_num(scores, nan=-np.inf).argmax(-1)]
    xmap = signal.emsparse.to_crystal_map(lattices)
    angles = misorientations(xmap, matrices, labels)
    print(f"phase of each pattern right: {(phases == labels).mean():.1%} of {labels.size}")
    for name, row in zip(NAMES, counts, strict=True):
        print(f"grouped by their bands, {name}: {row[0]} left out, in groups {row[1:]}")
    print(
        f"orientations within 1 degree: {(angles < 1).mean():.1%}, those by "
        f"{np.median(angles[angles < 1]):.2f} degrees in the median"
    )
    print(f"CPU time of all: {time.process_time() - start:.0f} s")
    if options.figure:
        draw_figure(options.figure, labels, phases, xmap, angles)


if __name__ == "__main__":
    main()
