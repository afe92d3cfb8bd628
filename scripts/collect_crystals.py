# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Collect crystals of all 14 Bravais lattices in one table, for the benchmark of their recognition.

Usage: ``python scripts/collect_crystals.py crystals.json WHEEL [WHEEL ...]``, where the wheels are
those of pymatgen, whose AFLOW prototypes are read, and of packages with CIFs, such as crystals,
pyxtal, Dans_Diffraction and ase. It needs pymatgen and spglib, on which the project does not
depend.

Real crystals are named by their formula, and a formula has each lattice once. Where a lattice has
few of them, random crystals are added, so that there is enough to develop with and as much to test
with: which of the two a crystal is for depends on the parity of the CRC-32 of its name.
"""

import argparse
import gzip
import json
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import spglib
from pymatgen.core import Structure

BRAVAIS_LATTICES = tuple("aP mP mC oP oC oI oF tP tI hR hP cP cI cF".split())
PROTOTYPES = "pymatgen/analysis/prototypes/aflow_prototypes.json.gz"
#: Atoms of the largest conventional cell.
MOST_ATOMS = 160
#: Hydrogen scatters too little to be seen; crystals with more of it, as a fraction, are left out.
MOST_HYDROGEN = 0.4
#: Distances between atoms in angstrom: the smallest in real and in random crystals.
CLOSEST_REAL, CLOSEST_RANDOM = 0.9, 1.5
#: Cubic angstrom an atom: diamond has 5.6 and caesium 110. What is far off is an example that is no
#: crystal, or a layer in vacuum.
ROOM = (4, 112)
#: How far atoms may be off symmetry in angstrom: in real crystals, which are given with few digits,
#: and in random ones, which must not come near a higher one.
TOLERANCE_REAL, TOLERANCE_RANDOM = 0.01, 0.05
#: Of the elements that random crystals are made of; those of noble gases and beyond U are not.
ELEMENTS = np.array(
    "3 4 5 6 7 8 9 11 12 13 14 15 16 17 19 20 22 23 24 25 26 27 28 29 30 31 32 33 34 38 39 40 41 "
    "42 44 46 47 48 49 50 51 52 56 57 58 64 68 72 73 74 78 79 80 81 82 83 92".split(),
    dtype=int,
)
#: Coordinates of special positions, the likely ones more often.
SPECIAL = (0, 0, 0.5, 0.5, 0.25, 0.75, 1 / 3, 2 / 3)


@dataclass(frozen=True)
class Crystal:
    """A crystal in its conventional cell.

    Attributes
    ----------
    name : str
        Formula of a real crystal.
    lattice : str
        Bravais lattice in Pearson's notation, such as "cF".
    cell : list of shape (3, 3)
        Edges in angstrom, one a row.
    positions : list of shape (n_atoms, 3)
        In fractions of the edges, from 0 to 1.
    numbers : list of shape (n_atoms,)
        Atomic numbers.
    atoms_per_primitive_cell : int
    source : str
        Where it is from.
    """

    name: str
    lattice: str
    cell: list
    positions: list
    numbers: list
    atoms_per_primitive_cell: int
    source: str


def lattice_label(number: int, symbol: str) -> str:
    """Bravais lattice of a space group, by its number and Hermann-Mauguin symbol."""
    last = {2: "a", 15: "m", 74: "o", 142: "t", 194: "h", 230: "c"}
    system = next(letter for most, letter in last.items() if number <= most)
    return system + ("C" if symbol[0] == "A" else symbol[0])


def standardise(atoms, name: str, source: str, tolerance: float) -> Crystal | None:
    """A crystal in spglib's standard setting, or None where spglib finds no symmetry.

    Parameters
    ----------
    atoms : tuple
        Cell rows in angstrom, fractional positions and atomic numbers, as spglib takes them.
    name, source : str
    tolerance : float
        In angstrom.
    """
    found = spglib.get_symmetry_dataset(atoms, symprec=tolerance)
    if found is None:
        return None
    cell, positions = np.array(found.std_lattice), np.array(found.std_positions) % 1
    if found.international[0] == "A":
        # What is centred on A in (a, b, c) is on C in (b, c, a).
        cell, positions = cell[[1, 2, 0]], positions[:, [1, 2, 0]]
    lattice = lattice_label(found.number, found.international)
    points = {"P": 1, "C": 2, "I": 2, "F": 4, "R": 3}[lattice[1]]
    return Crystal(
        name=name,
        lattice=lattice,
        cell=cell.round(8).tolist(),
        positions=positions.round(8).tolist(),
        numbers=[int(z) for z in found.std_types],
        atoms_per_primitive_cell=len(positions) // points,
        source=source,
    )


def distances(cell, positions) -> np.ndarray:
    """Of all pairs of atoms to the nearest images, (n, n) in angstrom, infinite to themselves."""
    apart = positions[:, None] - positions
    lengths = np.linalg.norm((apart - apart.round()) @ cell, axis=-1)
    np.fill_diagonal(lengths, np.inf)
    return lengths


def read_prototypes(wheel: zipfile.ZipFile) -> Iterator[tuple[Structure, str]]:
    """AFLOW's prototypes, each with its source."""
    for entry in json.loads(gzip.decompress(wheel.read(PROTOTYPES))):
        yield Structure.from_dict(entry["snl"]), f"AFLOW {entry['tags']['aflow']}"


def read_cifs(wheel: zipfile.ZipFile) -> Iterator[tuple[Structure, str]]:
    """What pymatgen can read of a wheel's CIFs, each with its source."""
    package = Path(wheel.filename).name.split("-")[0]
    for name in wheel.namelist():
        if not name.lower().endswith(".cif"):
            continue
        try:
            structure = Structure.from_str(wheel.read(name).decode("utf8", "ignore"), fmt="cif")
        except Exception:  # of many kinds, as are the faults of files made to test readers
            continue
        yield structure, f"{package}: {Path(name).name}"


def is_usable(structure: Structure) -> bool:
    """If all atoms are known, fill space without sitting on each other, and scatter."""
    if not structure.is_ordered or len(structure) > 2 * MOST_ATOMS:
        return False
    if not ROOM[0] < structure.volume / len(structure) < ROOM[1]:
        return False
    numbers = np.array(structure.atomic_numbers)
    apart = structure.distance_matrix + np.diag(np.full(len(numbers), np.inf))
    return apart.min() >= CLOSEST_REAL and (numbers == 1).mean() <= MOST_HYDROGEN


def real_crystals(wheels: list[str]) -> list[Crystal]:
    """Those of the wheels, each formula and lattice once, AFLOW's first."""
    entries = []
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            if PROTOTYPES in wheel.namelist():
                entries = list(read_prototypes(wheel)) + entries
            else:
                entries += read_cifs(wheel)
    found = {}
    for structure, source in entries:
        formula = structure.composition.reduced_formula
        if not is_usable(structure):
            continue
        atoms = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        crystal = standardise(atoms, formula, source, TOLERANCE_REAL)
        if crystal is None or len(crystal.numbers) > MOST_ATOMS:
            continue
        # AFLOW's triclinic FeS2 is cubic but for the last digits.
        if (formula, crystal.lattice) != ("FeS2", "aP"):
            found.setdefault((formula, crystal.lattice), crystal)
    return list(found.values())


def space_groups() -> dict[str, list[int]]:
    """Hall numbers of the first setting of each space group, by Bravais lattice."""
    groups, known = {}, set()
    for hall in range(1, 531):
        group = spglib.get_spacegroup_type(hall)
        if group.number not in known:
            known.add(group.number)
            label = lattice_label(group.number, group.international_short)
            groups.setdefault(label, []).append(hall)
    return groups


def random_cell(lattice: str, rng) -> np.ndarray:
    """Edges, one a row, of a conventional cell with a = 1; now and then two are nearly equal."""
    nearly, freely = 1 + rng.normal(0, 0.04, 2), np.exp(rng.normal(0, 0.35, 2))
    b, c = np.where(rng.random(2) < 0.25, nearly, freely)
    alpha = beta = gamma = 90.0
    system = lattice[0]
    if system in "cth":
        b, c = 1, 1 if system == "c" else c
    if system == "t" and rng.random() < 0.5:
        c *= 1.3
    if system == "h":
        c, gamma = c * (1.5 if lattice == "hP" else 2.5), 120.0
    if system == "m":
        beta = 91 + abs(rng.normal(0, 12))
    if system == "a":
        alpha, beta, gamma = 90 + rng.normal(0, 11, 3)
    cosines, sine = np.cos(np.radians([alpha, beta, gamma])), np.sin(np.radians(gamma))
    x, y = cosines[1], (cosines[0] - cosines[1] * cosines[2]) / sine
    z = np.sqrt(max(1 - x**2 - y**2, 1e-6))
    return np.array([[1, 0, 0], [b * cosines[2], b * sine, 0], [c * x, c * y, c * z]])


def random_site(rng) -> np.ndarray:
    """Fractional position, (3,), often a special one, as in real crystals."""
    site = rng.random(3)
    if rng.random() > 0.75:
        return site
    is_special = rng.random(3) < rng.choice([0.4, 0.7, 1.0])
    site = np.where(is_special, rng.choice(SPECIAL, 3), site)
    kind = rng.random()
    if kind < 0.15:
        site[1:] = site[0]
    elif kind < 0.28:
        site[1] = site[0] * rng.choice([-1, 1])
    return site


def orbit(site, operations, cell) -> np.ndarray:
    """What symmetry makes of a position, each once, of shape (n, 3)."""
    images = (operations["rotations"] @ site + operations["translations"]) % 1
    same = distances(cell, images) < 0.02
    return images[~np.tril(same).any(1)]


def random_crystal(name: str, lattice: str, halls: list[int], rng) -> Crystal | None:
    """One try at a crystal of up to 48 atoms and 9 to 20 cubic angstrom an atom."""
    operations = spglib.get_symmetry_from_database(int(rng.choice(halls)))
    cell = random_cell(lattice, rng)
    elements = rng.choice(ELEMENTS, rng.integers(1, 6))
    orbits = [orbit(random_site(rng), operations, cell) for _ in elements]
    positions = np.concatenate(orbits)
    numbers = np.repeat(elements, [len(one) for one in orbits])
    if len(numbers) > 48:
        return None
    cell = cell * np.cbrt(len(numbers) * rng.uniform(9, 20) / np.linalg.det(cell))
    edges = np.linalg.norm(cell, axis=1)
    if edges.min() < 2.3 or edges.max() > 22:
        return None
    if distances(cell, positions).min() < CLOSEST_RANDOM:
        return None
    crystal = standardise((cell, positions, numbers), name, "random", TOLERANCE_RANDOM)
    return crystal if crystal is not None and crystal.lattice == lattice else None


def parity(name: str) -> int:
    """0 for what is developed with, 1 for what is tested with."""
    return zlib.crc32(name.encode()) % 2


def fill_up(crystals: list[Crystal], least: int, seed: int) -> list[Crystal]:
    """Random crystals, so that each lattice has at least so many of either parity."""
    groups, added = space_groups(), []
    for which, lattice in enumerate(BRAVAIS_LATTICES):
        rng = np.random.default_rng([seed, which])
        names = [crystal.name for crystal in crystals if crystal.lattice == lattice]
        count = Counter(parity(name) for name in names)
        i = 0
        while min(count[0], count[1]) < least:
            name = f"random-{lattice}-{seed}-{i}"
            i += 1
            if count[parity(name)] >= least:
                continue
            crystal = None
            while crystal is None:
                crystal = random_crystal(name, lattice, groups[lattice], rng)
            added.append(crystal)
            count[parity(name)] += 1
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="JSON file to write")
    parser.add_argument("wheels", nargs="+")
    parser.add_argument("--least", type=int, default=12, help="crystals a lattice and parity")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="pymatgen")
    real = real_crystals(options.wheels)
    crystals = real + fill_up(real, options.least, options.seed)
    options.table.write_text(json.dumps([asdict(crystal) for crystal in crystals]))
    print(f"{len(real)} real crystals, {len(crystals) - len(real)} random ones")
    for lattice in BRAVAIS_LATTICES:
        of_it = [c for c in crystals if c.lattice == lattice]
        counts = Counter((c.source != "random", parity(c.name)) for c in of_it)
        print(
            f"  {lattice}: real {counts[True, 0]} even, {counts[True, 1]} odd; "
            f"random {counts[False, 0]} even, {counts[False, 1]} odd"
        )


if __name__ == "__main__":
    main()
