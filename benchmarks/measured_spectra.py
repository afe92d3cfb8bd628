# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Measured spectrum images: how well counts that were left out are predicted.

Run it with ``python benchmarks/measured_spectra.py FOLDER``, the folder that has
espm_88_ES_G8_EDS.hspy, bcf_v2_50x50px.bcf and particlespy_SiO2_EDS_SI.hspy. Each count is left out
with a probability of 0.3. Spectra are those of the others; abundances are found by maximum
likelihood for HyperSpy's spectra, which have none otherwise, and are the estimator's own for ours.
What is printed are nats a pixel above one spectrum for all pixels, and CPU seconds.
"""

import argparse
import time
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np

from emsparse_hs.decomposition import PoissonNMF
from emsparse_hs.decomposition.counts import as_counts, thin_counts

FILES = ("espm_88_ES_G8_EDS.hspy", "bcf_v2_50x50px.bcf", "particlespy_SiO2_EDS_SI.hspy")
SHARE, SMALLEST = 0.7, 1e-4


def loaded(path: Path) -> np.ndarray:
    """Counts (y, x, channel) of a map, without what is below 0.1 keV."""
    found = hs.load(path)
    maps = found if isinstance(found, list) else [found]
    signal = next(s for s in maps if s.axes_manager.signal_dimension == 1)
    return np.asarray(signal.isig[0.1:].data)


def predicted(abundances: np.ndarray, spectra: np.ndarray, unseen, usual: np.ndarray) -> float:
    """Nats a pixel of counts that were left out, above those of the usual spectrum alone."""
    share = (1 - SHARE) / SHARE
    expected = share * np.maximum(abundances, 0) @ np.maximum(spectra, 0)
    # Nothing is impossible: every model has a little of the usual spectrum.
    totals = expected.sum(1, keepdims=True)
    expected = (1 - SMALLEST) * expected + SMALLEST * np.maximum(totals, 1) * usual
    dense = unseen.toarray()
    ours = (dense * np.log(expected)).sum() - expected.sum()
    alone = np.maximum(share * abundances.sum(1, keepdims=True), SMALLEST) * usual
    return float(ours - (dense * np.log(alone)).sum() + alone.sum()) / len(dense)


def by_hyperspy(seen: np.ndarray, k: int, scaled: bool) -> np.ndarray:
    """Spectra of HyperSpy's NMF."""
    signal = hs.signals.Signal1D(seen.astype(float))
    signal.decomposition(
        normalize_poissonian_noise=scaled,
        algorithm="NMF",
        output_dimension=k,
        max_iter=1000,
        print_info=False,
    )
    return signal.learning_results.factors.T


def compare(name: str, counts: np.ndarray, random: np.random.RandomState) -> None:
    """Print a line for each way and number of components."""
    scan = counts.shape[:2]
    seen, unseen = thin_counts(as_counts(counts.reshape(-1, counts.shape[2])), SHARE, random)
    usual = np.asarray(seen.sum(0), float) + 0.01
    usual /= usual.sum()
    dense = seen.toarray().reshape(counts.shape)
    print(f"{name}: {counts.shape}, {counts.sum() / np.prod(scan):.0f} counts a pixel", flush=True)

    def show(way: str, k: int | str, start: float, abundances, spectra) -> None:
        gain = predicted(np.asarray(abundances, float), spectra, unseen, usual)
        used = time.process_time() - start
        print(f"  {way}, k = {k}: {gain:.3f} nats a pixel, {used:.1f} CPU s", flush=True)

    for k in (2, 3, 4, 5):
        for scaled in (False, True):
            start = time.process_time()
            spectra = by_hyperspy(dense, k, scaled)
            model = PoissonNMF(k, prior=None, known_components=spectra, random_state=0)
            abundances = model.fit_transform(seen)
            way = "HyperSpy's NMF, scaled" if scaled else "HyperSpy's NMF"
            show(way, k, start, abundances, model.components_)
        start = time.process_time()
        model = PoissonNMF(k, random_state=0)
        show("PoissonNMF", k, start, model.fit_transform(seen, scan=scan), model.components_)
    start = time.process_time()
    model = PoissonNMF("auto", random_state=0)
    abundances = model.fit_transform(seen, scan=scan)
    chosen = f"{len(model.components_)}, chosen"
    show("PoissonNMF", chosen, start, abundances, model.components_)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in FILES:
            random = np.random.RandomState(arguments.seed)
            compare(file, loaded(arguments.folder / file), random)
