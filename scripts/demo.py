# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Run the workflows and write a folder with figures, results and one page about them."""

from __future__ import annotations

import html
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import hyperspy.api as hs
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import emsparse_hs as em

matplotlib.use("Agg")
hs.preferences.General.show_progressbar = False


@dataclass
class Workflow:
    """One workflow's part of the page."""

    name: str
    title: str
    measured: bool
    source: str
    text: str
    figure: matplotlib.figure.Figure
    signals: dict[str, hs.signals.BaseSignal] = field(default_factory=dict)
    seconds: float = 0.0


def spectrum_image() -> Workflow:
    """Few spectra and their maps, from counts that stay sparse and on disk."""
    s = em.data.spectrum_image(lazy=True)
    s.emsparse.decomposition("PoissonNMF", output_dimension=2, random_state=0)
    counts = np.asarray(s.data)
    zeros, mean = (counts == 0).mean(), counts.sum() / counts[..., 0].size
    return Workflow(
        "spectrum_image",
        "Spectrum image: two phases out of sparse counts",
        measured=True,
        source="STEM-EDS map of a lower-mantle mineral assemblage, from the package espm",
        text=f"{zeros:.1%} of this map's elements are zero and a pixel has {mean:.0f} counts; "
        "Poisson NMF reads it once, keeps the counts sparse, and finds two spectra that each sum "
        "to the counts of their map. The brighter band is rich in Mg and Fe (1.25 and 6.4 keV), "
        "what surrounds it in Mg, Si and Ca (1.25, 1.74 and 3.7 keV).",
        figure=s.emsparse.plot_components(),
        signals={"factors": s.get_decomposition_factors(), "maps": s.get_decomposition_loadings()},
    )


def diffraction_scan() -> Workflow:
    """Deflection and electric field, beside what they should be."""
    d, truth = em.data.simulated_scan()
    deflection = d.as_lazy().emsparse.beam_deflection(centre="axes")
    deflection.compute()
    electric = deflection.to_electric_field(thickness=truth.thickness, units="V/angstrom")
    true, found = truth.field.ravel(), electric.data.ravel()
    slope = (found @ true) / (true @ true)
    charge, potential = electric.charge_density(), electric.potential()
    figure = plt.figure(figsize=(14, 8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(5, 6))
    em.plotting.plot_vector_field(electric, figure=top)
    profile, maps = bottom.subfigures(1, 2, width_ratios=(4, 5))
    em.plotting.plot_profile(electric, figure=profile, title="Profile in the middle, with 1 σ")
    for axes, image in zip(maps.subplots(1, 2), (charge, potential), strict=True):
        limit = np.abs(image.data).max()
        picture = axes.imshow(image.data, cmap="RdBu_r", vmin=-limit, vmax=limit)
        maps.colorbar(picture, ax=axes, orientation="horizontal")
        axes.set(title=image.metadata.Signal.quantity, xlabel="x (nm)", ylabel="y (nm)")
    return Workflow(
        "electric_field",
        "4D-STEM: the electric field of charged particles",
        measured=False,
        source="a scan of a thin phase object whose potential is known, with about "
        f"{truth.data.sum() / truth.field[..., 0].size:.0f} electrons a frame",
        text="The centre of mass of each frame gives the deflection of the beam with its error, "
        "and that the field, in V/Å and with the sign of physics; its slope against the true field "
        f"is {slope:.3f}. The field points away from positive particles (hue: direction, as on the "
        "wheel; brightness: magnitude). Its divergence is the charge, its integral the potential.",
        figure=figure,
        signals={
            "deflection": deflection,
            "field": electric,
            "charge": charge,
            "potential": potential,
        },
    )


def unit_cells() -> Workflow:
    """Domains of an atomic-resolution scan, and the scan without noise."""
    s, truth = em.data.simulated_domains(seed=4)
    s = s.as_lazy()
    model = s.emsparse.unit_cell_model()
    labels = model.domain_map()
    right = max((labels.data == truth.domains).mean(), (labels.data != truth.domains).mean())
    return Workflow(
        "unit_cells",
        "Atomic-resolution 4D-STEM: the unit cell taken out",
        measured=False,
        source="multislice of PbTiO3 with a domain wall, in a scan with jitter and drift, "
        f"{truth.dose:.0f} electrons a pattern",
        text="A pattern depends on where in the unit cell the probe stands. Within a domain that "
        "is a short Fourier series, of which the scan's own lattice is found first. Taken out, it "
        f"leaves two domains ({right:.1%} of the positions are in the right one), thickness as a "
        "slow map, and patterns for any position in the cell. These make up "
        f"{model.explained_variance:.1%} of the scan's variance, without its noise, in "
        f"{model.compression_ratio:.0f} times less space.",
        figure=model.plot(),
        signals={"domains": labels, "dictionary": model.dictionary()},
    )


def kikuchi_patterns() -> Workflow:
    """Bands of patterns as points."""
    p = em.data.nickel_patterns(lazy=True)
    p.remove_static_background()
    bands = p.emsparse.detect_bands(n_bands=12)
    bands.compute()
    radon = p.emsparse.radon()
    radon.compute()
    figure = plt.figure(figsize=(10, 9.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(5, 4))
    em.plotting.plot_bands(p.inav[0, 0], bands.inav[0, 0], figure=top)
    em.plotting.plot_radon(radon.inav[0, 0], bands.inav[0, 0], figure=bottom)
    return Workflow(
        "kikuchi_bands",
        "EBSD: bands as points",
        measured=True,
        source="nickel, 60 x 60 px, 20 kV, from the package kikuchipy",
        text="Integrated along great circles about the pattern centre, each Kikuchi band becomes "
        "one bright spot, and its two edges are found there to a fraction of a degree. A pattern "
        "of 3600 pixels is kept as a dozen normals, widths and contrasts, from which the lattice "
        "of an unknown phase can be worked out.",
        figure=figure,
        signals={"bands": bands, "radon": radon},
    )


def tilt_series() -> Workflow:
    """A tomogram from a third of the tilts."""
    t = em.data.needle().inav[::3]
    tomogram = t.reconstruct(refine=("shift", "slide", "gain", "background"), tol=1e-2)
    about = tomogram.metadata.Reconstruction
    return Workflow(
        "tomogram",
        "Tilt series: a tomogram from a third of the tilts",
        measured=True,
        source="HAADF images of a needle, aligned, from the package etspy; every third of 77 tilts",
        text=f"From {len(t.tilts)} tilts, the volume with the smallest total variation that "
        "explains the images, nowhere negative, is a round needle of layers. The weight was chosen "
        "by tilts that were left out, and the images' displacements of up to "
        f"{np.abs([about.shifts, about.slides]).max():.1f} px, gains and backgrounds were found. "
        f"After {about.iterations} iterations the objective is certified to lie within "
        f"{about.gap:.1e} (relative) of its minimum.",
        figure=tomogram.plot_slices(),
        signals={"tomogram": tomogram},
    )


def write(folder: Path) -> None:
    """Run everything, one workflow after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for run in (
        spectrum_image, diffraction_scan, unit_cells, kikuchi_patterns, tilt_series
    ):  # fmt: skip
        start = time.perf_counter()
        part = run()
        part.seconds = time.perf_counter() - start
        part.figure.savefig(folder / f"{part.name}.png", dpi=120)
        for name, signal in part.signals.items():
            signal.save(folder / f"{part.name}_{name}.hspy", overwrite=True)
        print(f"{part.title} ({part.seconds:.1f} s)")
        parts.append(part)
    page = PAGE.format(sections="\n".join(map(section, parts)), version=em.__version__)
    (folder / "index.html").write_text(page, encoding="utf-8")
    print(f"Open {folder / 'index.html'}")


def section(part: Workflow) -> str:
    """One workflow as HTML."""
    kind = "measured" if part.measured else "simulated"
    files = ", ".join(
        f'<a href="{part.name}_{name}.hspy">{html.escape(name)}.hspy</a>' for name in part.signals
    )
    return f"""<section>
<h2>{html.escape(part.title)}</h2>
<p><span class="{kind}">{kind}</span> {html.escape(part.source)}.</p>
<img src="{part.name}.png" alt="{html.escape(part.title)}">
<p>{html.escape(part.text)}</p>
<p class="files">Results: {files}. {part.seconds:.1f} s, compilation included.</p>
</section>"""


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>emsparse_hs: workflows</title>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }}
section {{ margin: 3rem 0; }}
img {{ max-width: 100%; height: auto; }}
span {{ font-size: 0.8em; padding: 0.1em 0.6em; border-radius: 1em; color: #fff; }}
.measured {{ background: #1b6e3c; }}
.simulated {{ background: #7a4b00; }}
.files {{ color: #555; font-size: 0.85em; }}
</style>
</head>
<body>
<h1>What emsparse_hs makes of four kinds of data</h1>
<p>Written by <code>make demo</code> with emsparse_hs {version}. Each result is a HyperSpy signal:
open it with <code>hs.load</code>.</p>
{sections}
</body>
</html>
"""

if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
