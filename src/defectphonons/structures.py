"""Monolayers, supercells, strain and point defects. Lengths in A; z is out of plane."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import spglib
from ase import Atoms
from ase.build import mx2
from ase.data import atomic_numbers, covalent_radii
from ase.formula import Formula
from ase.geometry import find_mic, get_distances

CHALCOGENS = ("S", "Se", "Te")
HEIGHT = 14.0  # A, cell height of the reference data: more than 10 A of vacuum
# V_S, V_S2, O_S; of a pair the second with the number of the neighbour, V_S(1).
PART = re.compile(r"([A-Z][a-z]?)_([A-Z][a-z]?)(2?)(?:\(([1-9])\))?")


def elements(formula: str) -> tuple[str, str]:
    """Return metal and chalcogen of a `formula` of the kind MX2. Raises ValueError for another formula."""
    try:
        counts = Formula(formula).count()
        metal, chalcogen = counts
        matches = (
            counts[metal] == 1
            and counts[chalcogen] == 2
            and chalcogen in CHALCOGENS
            and metal not in CHALCOGENS
        )
    except ValueError:
        matches = False
    if not matches:
        raise ValueError("must be one metal and two chalcogens, like 'MoS2'")
    return metal, chalcogen


def monolayer(formula: str, lattice_constant: float, thickness: float) -> Atoms:
    """Return the primitive cell of a 2H monolayer MX2, M first, in the middle of a cell 14 A high.

    `lattice_constant` and `thickness` (X-X distance along z) in A. Periodic in all three
    directions: MACE's stress of a slab that is not periodic along z is wrong.
    Raises ValueError if `formula` is not of the kind MX2.
    """
    try:
        elements(formula)
    except ValueError as error:
        raise ValueError(f"formula = {formula!r}: {error}") from None
    atoms = mx2(formula, kind="2H", a=lattice_constant, thickness=thickness)
    atoms.cell[2] = (0.0, 0.0, HEIGHT)
    atoms.positions[:, 2] += HEIGHT / 2 - atoms.positions[0, 2]
    atoms.pbc = True
    return atoms


def strained(atoms: Atoms, strain: float | Sequence[float]) -> Atoms:
    """Return a copy whose in-plane cell and positions are scaled by 1 + `strain`.

    One number is biaxial; two are along x and along y, the zigzag and the armchair direction of a `monolayer`.
    """
    xx, yy = strain if isinstance(strain, Sequence) else (strain, strain)
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array * [1 + xx, 1 + yy, 1.0], scale_atoms=True)
    return copy


def supercell(atoms: Atoms, n: int) -> Atoms:
    """Return the n x n x 1 supercell of `atoms`."""
    return atoms.repeat((n, n, 1))


def space_group(atoms: Atoms, symprec: float = 1e-4) -> str:
    """Return the international symbol of the space group, positions compared to within `symprec` A."""
    return spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)


@dataclass(frozen=True)
class Defect:
    """A point defect in a supercell: lattice sites that are empty or hold an atom of another element.

    Indices count atoms of the defective cell unless said otherwise.
    """

    name: str
    atoms: Atoms  # every atom on a site of the perfect lattice
    pristine: Atoms
    changed: list[int]  # the atoms of `pristine` whose sites are empty or hold another element
    lattice_sites: np.ndarray  # (N,) the atom of `pristine` on whose site each atom stands

    @classmethod
    def of(cls, pristine: Atoms, name: str) -> "Defect":
        """Make the defect `name` in a supercell of a monolayer MX2, in the middle of its upper side.

        Names are 'V_S' (no atom on a site of S), 'V_S2' (none on both sites of a column), 'O_S' (O on a site of S),
        and pairs such as 'V_S+V_S(1)', whose second member is on the nearest site of the same side; (2) is the
        second nearest, and so on, by their distances along the unstrained sheet. Raises ValueError for another name.
        """
        changes = changed_sites(pristine, name)
        atoms = pristine.copy()
        for site, element in changes.items():
            atoms.symbols[site] = element or "X"
        lattice_sites = np.flatnonzero([changes.get(i, "") is not None for i in range(len(pristine))])
        return cls(name, atoms[lattice_sites], pristine, list(changes), lattice_sites)

    @cached_property
    def site(self) -> np.ndarray:
        """Return the middle (3,) in A of the sites that are changed."""
        first, *others = self.pristine.positions[self.changed]
        apart = [np.zeros(3)] + [find_mic(other - first, self.pristine.cell)[0] for other in others]
        return first + np.mean(apart, axis=0)

    @cached_property
    def empty(self) -> list[int]:
        """Return the atoms of `pristine` that are missing."""
        return [site for site in self.changed if site not in self.lattice_sites]

    @cached_property
    def own(self) -> np.ndarray:
        """Return the atoms that stand on sites of other elements."""
        return np.flatnonzero(np.isin(self.lattice_sites, self.changed))

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Return the nearest shells of the other species round the changed sites."""
        return self.unchanged([nearest_shell(self.pristine, site)[0] for site in self.changed])

    @cached_property
    def across(self) -> np.ndarray:
        """Return the atoms on the other side of the sheet, below or above a changed site; none for a metal."""
        return self.unchanged([column(self.pristine, site) for site in self.changed])

    def unchanged(self, sites: list[np.ndarray]) -> np.ndarray:
        """Return the atoms that stand on any of these sets of `sites` of `pristine`, without the changed ones."""
        return np.flatnonzero(np.isin(self.lattice_sites, np.setdiff1d(np.concatenate(sites), self.changed)))

    @property
    def local(self) -> np.ndarray:
        """Return the atoms whose motion counts as motion at the defect: its own, the neighbours and those across."""
        return np.concatenate([self.own, self.neighbours, self.across])

    @cached_property
    def from_site(self) -> np.ndarray:
        """Return vectors (N, 3) in A from the middle of the defect to the nearest image of each atom's site."""
        return find_mic(self.atoms.positions - self.site, self.atoms.cell)[0]

    @cached_property
    def distances(self) -> np.ndarray:
        """Return the lengths (N,) of the vectors `from_site`."""
        return np.linalg.norm(self.from_site, axis=1)

    @property
    def start(self) -> Atoms:
        """Return the atoms where a relaxation begins: a substituted chalcogen is moved along z to bonds of its covalent radius."""
        start = self.atoms.copy()
        for atom in self.own:
            site = self.lattice_sites[atom]
            before = self.pristine.symbols[site]
            if before not in CHALCOGENS:
                continue
            _, vectors = nearest_shell(self.pristine, site)
            lengths = np.linalg.norm(vectors, axis=1)
            bond = vectors[lengths.argmin()]
            longer = covalent_radii[start.numbers[atom]] - covalent_radii[atomic_numbers[before]]
            height = np.sqrt(max((lengths.min() + longer) ** 2 - bond[0] ** 2 - bond[1] ** 2, 0.25))
            start.positions[atom, 2] += bond[2] + np.copysign(height, -bond[2])
        return start


def defect_parts(formula: str, name: str) -> list[tuple[str, str, bool, int]]:
    """Return what the parts of a defect's name say: element or 'V', that of the site, whether a whole column, which neighbour.

    Raises ValueError if a monolayer of that `formula`, MX2, can have no defect of that name.
    """
    metal, chalcogen = elements(formula)
    names = [
        f"V_{metal}",
        f"V_{chalcogen}",
        f"V_{chalcogen}2",
        f"{metal}_{chalcogen}",
        f"{chalcogen}_{metal}",
    ]
    parts = []
    for number, text in enumerate(name.split("+")):
        match = PART.fullmatch(text)
        on, site, column, shell = match.groups() if match else ("", "", "", None)
        right = (on == "V" or atomic_numbers.get(on)) and site in (metal, chalcogen) and on != site
        if not right or (column and site == metal) or (number > 0) != bool(shell) or number > 1:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"{name!r} is no defect of {formula}; known: {', '.join(names)}, another element on a site "
                f"('O_{chalcogen}') and pairs ('V_{chalcogen}+V_{chalcogen}(1)' on nearest sites){hint}"
            )
        parts.append((on, site, bool(column), int(shell or 0)))
    return parts


def changed_sites(pristine: Atoms, name: str) -> dict[int, str | None]:
    """Return the sites of `pristine` that the defect `name` changes, each with its new element, None for an empty one.

    Raises ValueError for an unknown name, and for a pair whose members are not nearest images of each other.
    """
    changes: dict[int, str | None] = {}
    first = None
    for on, species, whole, shell in defect_parts(str(pristine.symbols.formula.reduce()[0]), name):
        candidates = np.flatnonzero(pristine.symbols == species)
        height = pristine.positions[candidates, 2]
        candidates = candidates[height > height.max() - 0.1]
        if first is None:
            middle = pristine.cell.array[:2].sum(axis=0)[:2] / 2
            distances = np.linalg.norm(pristine.positions[candidates, :2] - middle, axis=1)
            # Rounded, so that of equally near sites every machine takes the first.
            first = site = int(candidates[np.argmin(distances.round(6))])
        else:
            site = neighbour(pristine, first, candidates, shell, name)
        sites = column(pristine, site).tolist() if whole else [site]
        changes |= dict.fromkeys(sites, None if on == "V" else on)
    return changes


def column(pristine: Atoms, site: int) -> np.ndarray:
    """Return the atoms above and below the atom `site` of a monolayer, and itself."""
    vectors = pristine.get_distances(site, range(len(pristine)), mic=True, vector=True)
    return np.flatnonzero(np.linalg.norm(vectors[:, :2], axis=1) < 0.1)


def nearest_shell(pristine: Atoms, site: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms (n,) of the other species that are nearest to the atom `site`, and the vectors (n, 3) in A to them."""
    # A thin sheet has the atom across the plane as near as the others: it is not one of them.
    others = np.flatnonzero(pristine.numbers != pristine.numbers[site])
    if not others.size:
        return others, np.empty((0, 3))
    vectors = pristine.get_distances(site, others, mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=1)
    near = lengths < 1.1 * lengths.min()
    return others[near], vectors[near]


def neighbour(pristine: Atoms, first: int, candidates: np.ndarray, shell: int, name: str) -> int:
    """Return of `candidates` one in the shell of that number about the atom `first`, by distances along the unstrained sheet."""
    ideal, lengths = pristine.copy(), pristine.cell.lengths()[:2]
    ideal.set_cell(
        [*[lengths.mean()] * 2, lengths.mean(), 90, 90, round(pristine.cell.angles()[2], -1)],
        scale_atoms=True,
    )
    vectors = ideal.get_distances(first, candidates, mic=True, vector=True)[:, :2]
    distances = np.linalg.norm(vectors, axis=1).round(3)
    shells = np.unique(distances[distances > 0.1])
    shells = shells[shells < lengths.min() / 2 - 0.1]
    if shell > len(shells):
        raise ValueError(
            f"defect {name!r}: a cell of {lengths.min():.1f} A has only {len(shells)} shells of such sites nearer than half "
            "of it, so that the pair would be another with its own images: give a larger supercell"
        )
    members = np.flatnonzero(distances == shells[shell - 1])
    # Of equally near sites that along the first direction counted from x.
    directions = np.arctan2(vectors[members, 1], vectors[members, 0]).round(6) % (2 * np.pi)
    return int(candidates[members[directions.argmin()]])


def distances_from_vacancy(atoms: Atoms, primitive: Atoms) -> np.ndarray:
    """Return the distances (N,) in A of the atoms from the nearest empty site; infinite where none is empty.

    A site of the supercell of `primitive`, scaled to the cell of `atoms` and moved onto their metal, is empty if `atoms` has
    no atom within 1.5 A: a lighter chalcogen may be 1.2 A nearer to the metal.
    """
    n = int(np.ceil(np.sqrt(len(atoms) / len(primitive))))
    cell = atoms.cell.array / [[n], [n], [1]]
    metal = atoms.positions[atoms.numbers == primitive.numbers[0]]
    empty = []
    for turned in (1, -1):  # by half a turn, which leaves the cell as it is
        ideal = supercell(primitive, n)
        ideal.set_cell(atoms.cell, scale_atoms=True)
        ideal.positions *= turned
        # The metal has one site in each cell: modulo the cell all its atoms are shifted alike.
        phases = np.exp(2j * np.pi * (metal - ideal.positions[0]) @ np.linalg.inv(cell)).mean(axis=0)
        ideal.positions += np.angle(phases) / (2 * np.pi) @ cell
        _, distances = get_distances(atoms.positions, ideal.positions, cell=atoms.cell, pbc=True)
        empty.append(distances[:, distances.min(axis=0) > 1.5])
    return min(empty, key=lambda sites: sites.shape[1]).min(axis=1, initial=np.inf)


def neighbour_displacements(defect: Defect, relaxed: Atoms) -> dict[str, float | list[float]]:
    """Return how the nearest shell relaxed: towards the defect's axis, along z, and the distances within it, in A.

    `relaxed` has the atoms of `defect.atoms` in the same order. Averages over the shell, the distances
    over those that are the shortest before. Along z relative to the atoms of the same species farthest
    from the defect: a sheet that domes in a periodic cell has no other level. With the height of each of the defect's own
    atoms above the mean of the shell.
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
        "own_heights_A": (relaxed.positions[defect.own, 2] - relaxed.positions[shell, 2].mean()).tolist(),
    }
