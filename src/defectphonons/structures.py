"""Monolayers, supercells, strain and vacancies. Lengths in A; z is out of plane."""

import difflib
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.build import mx2
from ase.formula import Formula
from ase.geometry import find_mic, get_distances

CHALCOGENS = ("S", "Se", "Te")
HEIGHT = 14.0  # A, cell height of the reference data: more than 10 A of vacuum


def monolayer(formula: str, lattice_constant: float, thickness: float) -> Atoms:
    """Primitive cell of a 2H monolayer MX2, M first, in the middle of a cell 14 A high.

    `lattice_constant` and `thickness` (X-X distance along z) in A. Periodic in all three
    directions: MACE's stress of a slab that is not periodic along z is wrong.
    Raises ValueError if `formula` is not of the kind MX2.
    """
    try:
        counts = Formula(formula).count()
        metal, *chalcogen = counts
        matches = list(counts.values()) == [1, 2] and chalcogen[0] in CHALCOGENS and metal not in CHALCOGENS
    except ValueError:
        matches = False
    if not matches:
        raise ValueError(f"formula = {formula!r}: must be one metal and two chalcogens, like 'MoS2'")
    atoms = mx2(formula, kind="2H", a=lattice_constant, thickness=thickness)
    atoms.cell[2] = (0.0, 0.0, HEIGHT)
    atoms.positions[:, 2] += HEIGHT / 2 - atoms.positions[0, 2]
    atoms.pbc = True
    return atoms


def strained(atoms: Atoms, strain: float) -> Atoms:
    """A copy with the in-plane cell and positions scaled by 1 + `strain`."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array * [[1 + strain], [1 + strain], [1.0]], scale_atoms=True)
    return copy


def supercell(atoms: Atoms, n: int) -> Atoms:
    """The n x n x 1 supercell of `atoms`."""
    return atoms.repeat((n, n, 1))


def space_group(atoms: Atoms, symprec: float = 1e-4) -> str:
    """International symbol of the space group, positions compared to within `symprec` A."""
    return spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)


@dataclass(frozen=True)
class Defect:
    """A vacancy in a supercell. Indices count atoms of the defective cell unless said otherwise."""

    name: str
    atoms: Atoms
    pristine: Atoms
    site: np.ndarray  # (3,) ideal position of the missing atom, A
    kept: np.ndarray  # (N,) index in `pristine` of each atom
    neighbours: np.ndarray  # the nearest shell of the other species round the site
    across: np.ndarray  # the atom of the missing species below or above it, none for a metal

    @property
    def local(self) -> np.ndarray:
        """The atoms whose motion counts as motion at the defect: neighbours and the one across."""
        return np.concatenate([self.neighbours, self.across])

    @property
    def from_site(self) -> np.ndarray:
        """(N, 3) vectors in A from the empty site to the nearest image of each atom's ideal place."""
        return find_mic(self.atoms.positions - self.site, self.atoms.cell)[0]

    @property
    def distances(self) -> np.ndarray:
        """(N,) lengths of the same."""
        return np.linalg.norm(self.from_site, axis=1)


def defect_species(pristine: Atoms, name: str) -> str:
    """Species that the vacancy `name` ('V_S') removes; ValueError if `pristine` has none such."""
    known = [f"V_{symbol}" for symbol in dict.fromkeys(pristine.symbols)]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ValueError(
            f"unknown defect {name!r} of {pristine.symbols.formula.reduce()[0]}; known: {', '.join(known)}{hint}"
        )
    return name.removeprefix("V_")


def vacancy(pristine: Atoms, name: str) -> Defect:
    """`pristine` without one atom: of species X for `name` 'V_X', the uppermost next to the middle.

    Raises ValueError for an unknown name.
    """
    species = defect_species(pristine, name)
    candidates = np.flatnonzero(pristine.symbols == species)
    height = pristine.positions[candidates, 2]
    candidates = candidates[height > height.max() - 0.1]
    middle = pristine.cell.array[:2].sum(axis=0)[:2] / 2
    distances = np.linalg.norm(pristine.positions[candidates, :2] - middle, axis=1)
    # Rounded, so that of equally near sites every machine takes the first.
    removed = candidates[np.argmin(distances.round(6))]

    site = pristine.positions[removed].copy()
    kept = np.delete(np.arange(len(pristine)), removed)
    atoms = pristine[kept]
    vectors, lengths = get_distances(site, atoms.positions, cell=atoms.cell, pbc=True)
    # A thin sheet has the atom across the plane as near as the others: it is not one of them.
    lengths = np.where(atoms.symbols == species, np.inf, lengths[0])
    same_column = np.linalg.norm(vectors[0][:, :2], axis=1) < 0.1
    return Defect(
        name=name,
        atoms=atoms,
        pristine=pristine,
        site=site,
        kept=kept,
        neighbours=np.flatnonzero(lengths < 1.1 * lengths.min()),
        across=np.flatnonzero(same_column),
    )


def distances_from_vacancy(atoms: Atoms, primitive: Atoms) -> np.ndarray:
    """(N,) distances in A of the atoms from the nearest empty site; infinite where none is empty.

    A site is empty if the supercell of `primitive`, scaled to the cell of `atoms`, has an atom there
    and `atoms` has none within 1 A.
    """
    n = int(np.ceil(np.sqrt(len(atoms) / len(primitive))))
    ideal = supercell(primitive, n)
    ideal.set_cell(atoms.cell, scale_atoms=True)
    _, distances = get_distances(atoms.positions, ideal.positions, cell=atoms.cell, pbc=True)
    return distances[:, distances.min(axis=0) > 1.0].min(axis=1, initial=np.inf)


def neighbour_displacements(defect: Defect, relaxed: Atoms) -> dict[str, float]:
    """How the nearest shell relaxed: towards the defect's axis, along z, and the distances within it, in A.

    `relaxed` has the atoms of `defect.atoms` in the same order. Averages over the shell, the distances
    over those that are the shortest before. Along z relative to the atoms of the same species farthest
    from the defect: a sheet that domes in a periodic cell has no other level.
    """
    shell = defect.neighbours
    ideal = defect.from_site[shell]
    moved = find_mic(relaxed.positions[shell] - defect.atoms.positions[shell], relaxed.cell)[0]
    before, after = (atoms[shell].get_all_distances(mic=True) for atoms in (defect.atoms, relaxed))
    apart = before + np.diag(np.full(len(shell), np.inf))
    shortest = apart < apart.min() + 0.01
    same = np.flatnonzero(defect.atoms.symbols == defect.atoms.symbols[shell[0]])
    away = defect.distances[same]
    far = same[away > away.max() - 0.1]
    level = find_mic(relaxed.positions[far] - defect.atoms.positions[far], relaxed.cell)[0][:, 2].mean()
    outwards = ideal[:, :2] / np.linalg.norm(ideal[:, :2], axis=1, keepdims=True)
    return {
        "inward_A": float(-(moved[:, :2] * outwards).sum(axis=1).mean()),
        "up_A": float(moved[:, 2].mean() - level),
        "before_A": float(before[shortest].mean()),
        "after_A": float(after[shortest].mean()),
    }
