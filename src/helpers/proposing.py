"""Propose configurations for a larger training set: make a pool, keep those least like what is labelled.

The pool: a Se vacancy, and two of them, in 2 x 2 and 3 x 3, and the sheet, about the geometry that the shipped
model relaxes to, with biaxial and uniaxial strain to 4 %; a rattle of 0.01 to 0.06 A. Or O and S on a Se site, at
the bond length of the sheet less the difference of the covalent radii; all of these are kept, for the model does
not know the elements.
"""

from pathlib import Path

import numpy as np
from ase import Atoms

from defectphonons import relaxation, structures
from helpers import paths
from helpers.data import dataset, selection
from helpers.models import potential

STRAINS = ((0, 0), (0.02, 0.02), (-0.02, -0.02), (0.04, 0.04), (0.03, 0), (0, 0.03), (0.04, -0.01))
RATTLES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)  # A
FIRST_SEED = 300
SHEET = (3.3143, 3.362)  # A, lattice constant and thickness where relaxations start


def cells(sheet: Atoms) -> dict[str, Atoms]:
    """Unrelaxed cells by the name of their kind; two vacancies in every inequivalent way that 3 x 3 has room for."""
    found = {}
    for n in (2, 3):
        perfect = structures.supercell(sheet, n)
        found[f"pristine_{n}x{n}"] = perfect
        one = structures.Defect.of(perfect, "V_Se")
        found[f"vacancy_{n}x{n}"] = one.atoms
        selenium = np.flatnonzero(one.atoms.symbols == "Se")
        seen = set()
        for atom in selenium[np.argsort(one.distances[selenium])]:
            name = f"two_vacancies_{n}x{n}_{one.distances[atom]:.1f}A"
            if name not in seen:
                seen.add(name)
                found[name] = one.atoms[[i for i in range(len(one.atoms)) if i != atom]]
    return found


def substituted() -> list[Atoms]:
    """Return frames of O and S in place of one Se in 2 x 2 and 3 x 3, moved towards the three W, strained and rattled."""
    sheet = structures.monolayer("WSe2", *SHEET)
    found, seed = [], FIRST_SEED + 200
    for n, strains in ((2, STRAINS[:3]), (3, STRAINS[:1])):
        for element in ("O", "S"):
            start = structures.Defect.of(structures.supercell(sheet, n), f"{element}_Se").start
            for strain in strains:
                for rattle in (0.02, 0.04, 0.06):
                    frame = structures.strained(start, strain)
                    frame.rattle(rattle, seed=1000 * seed + round(100 * rattle))
                    frame.info = {
                        "config_type": f"{element}_Se_{n}x{n}", "seed": seed, "rattle": rattle,
                        "strain": [*strain, 0.0],
                    }  # fmt: skip
                    found.append(frame)
                seed += 1
    return found


def propose(target: Path, count: int, kinds: tuple[str, ...]) -> None:
    """Write the `count` frames of the pool that are least like any labelled one, of kinds that begin like one of `kinds`."""
    known_kinds = cells(structures.monolayer("WSe2", *SHEET))
    wanted = {kind: cell for kind, cell in known_kinds.items() if kind.startswith(kinds)}
    if not wanted:
        raise ValueError(f"--kind {', '.join(kinds)}: no kind begins so; there are {', '.join(known_kinds)}")
    labelled = [paths.DATA / "wse2.xyz", *(paths.DATA / "in_progress").glob("*_labelled.xyz")]
    mace = potential.load("wse2-small", elements=("W", "Se"))
    known = [
        frame for path in labelled for frame in dataset.read(path) if set(frame.symbols) <= set(mace.elements)
    ]
    pool = []
    places = [(kind, strain) for kind in known_kinds for strain in STRAINS]
    for seed, (kind, strain) in enumerate(places, start=FIRST_SEED):
        if cell := wanted.get(kind):
            strained, folder = structures.strained(cell, strain), paths.RESULTS / "proposals"
            relaxed = relaxation.relax(strained, mace, hold_symmetry=True, folder=folder)
            for number, rattle in enumerate(RATTLES):
                frame = relaxed.copy()
                frame.rattle(rattle, seed=1000 * seed + number)
                frame.info = {"config_type": kind, "seed": seed, "rattle": rattle, "strain": [*strain, 0.0]}
                pool.append(frame)
    chosen = selection.farthest(
        selection.environments(mace, pool), selection.environments(mace, known), count
    )
    dataset.write(target, [pool[index] for index in chosen])
    for index in chosen:
        print(pool[index].info)
