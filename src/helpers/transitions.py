"""Electronic transitions of a defect by DFT: the difference of the forces in both states, and the displacement of their minima."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.signal import find_peaks, peak_widths
from scipy.spatial import cKDTree

from defectphonons import emission, structures
from defectphonons.embedding import Embedded
from defectphonons.relaxation import HeldSymmetry
from helpers.data import dataset

STATES = ("ground", "final")
DISTORTIONS = ("distorted", "opposite")


@dataclass(frozen=True)
class Transition:
    """A transition from the ground state of a defect, whose phonons a model has, to another electronic state.

    Four calculations: both states (`state`) at the minima of both (`geometry`), in one cell. Those at the final state's may miss.
    If it shares an electron among the partners of a degenerate level, four more say what one partner does: see `jahn_teller`.
    """

    defect: str
    frames: dict[tuple[str, str], Atoms]  # (state, geometry), labelled

    @property
    def ground(self) -> Atoms:
        """Return the cell at the minimum of the ground state."""
        return self.frames["ground", "ground"]

    @property
    def n(self) -> int:
        """Return how many primitive cells, of three atoms, lie along each side of the cell, which may lack some or have more."""
        return round(np.sqrt(len(self.ground) / 3))

    @cached_property
    def pushes(self) -> dict[str, np.ndarray]:
        """Return the forces (N, 3) in eV/A of the final state less those of the ground state, at the minimum of "ground" and of "final".

        Only their part with the full symmetry of the cell, to which modes of the first irrep couple. The second is there if DFT is.
        """
        return {
            geometry: symmetric_part(self.ground, self.difference(geometry))
            for geometry in STATES
            if all((state, geometry) in self.frames for state in STATES)
        }

    def difference(self, geometry: str) -> np.ndarray:
        """Return the forces (N, 3) in eV/A of the final state less those of the ground state at a geometry."""
        return self.frames["final", geometry].get_forces() - self.frames["ground", geometry].get_forces()

    @cached_property
    def jahn_teller(self) -> np.ndarray | None:
        """Return the forces (N, 3) in eV/A of an electron in one partner of a degenerate level, beyond those of one shared by both.

        The linear Jahn-Teller coupling: half the difference of what these forces are at two opposite distortions of the ground
        state's minimum, "distorted" and "opposite", at which the lower partner (state "partner") is a different one.
        """
        if ("partner", "opposite") not in self.frames:
            return None
        distorted, opposite = (
            self.frames["partner", geometry].get_forces() - self.frames["final", geometry].get_forces()
            for geometry in DISTORTIONS
        )
        return (distorted - opposite) / 2

    @property
    def partner_energies(self) -> tuple[float, float]:
        """Return the energy (eV) with the electron in the lower partner less that with it shared, at the distortions: by DFT, and -F u.

        Means over both. The linear coupling makes -F u of forces F = `jahn_teller` and displacements u; DFT's energy is higher, by what
        half an electron that moves from one partner to the other costs in an approximate functional.
        """
        by_dft = [
            dataset.energy(self.frames["partner", geometry]) - dataset.energy(self.frames["final", geometry])
            for geometry in DISTORTIONS
        ]
        apart = self.moved("final", "distorted") - self.moved("final", "opposite")
        return float(np.mean(by_dft)), -float((self.jahn_teller * apart).sum()) / 2

    @property
    def spin_orbit(self) -> float:
        """Return by how much (eV) spin-orbit coupling splits the degenerate level, the key `spin_orbit_eV` of a frame of one partner."""
        return float(self.frames["partner", "distorted"].info.get("spin_orbit_eV", 0.0))

    def moved(self, state: str, geometry: str) -> np.ndarray:
        """Return by how much (N, 3) in A the atoms of a frame are moved from the ground state's minimum."""
        vectors = self.frames[state, geometry].positions - self.ground.positions
        return find_mic(vectors, self.ground.cell, self.ground.pbc)[0]

    @property
    def rises(self) -> dict[str, float]:
        """Return by how much (eV) the energy of each state rises from its own minimum to the other's, where DFT has all four."""
        four = [(state, geometry) for state in STATES for geometry in STATES]
        if not all(key in self.frames for key in four):
            return {}
        energies = {key: dataset.energy(self.frames[key]) for key in four}
        other = dict(zip(STATES, reversed(STATES), strict=True))
        return {state: energies[state, other[state]] - energies[state, state] for state in STATES}


def read(path: Path, defect: str, needed: str) -> dict[str, dict[int, Transition]]:
    """Read the transitions of a defect that a file has, each in its cells, by their size n; smaller ones first.

    Frames of extended XYZ with energy, forces and the keys `defect`, `transition`, `state` and `geometry`, of which STATES and
    DISTORTIONS have the values. ValueError if the transition `needed` is not among them, if a frame is there twice, or if a cell lacks one, as `check` has it.
    """
    kept: dict[str, dict[int, dict[tuple[str, str], Atoms]]] = {}
    for atoms in dataset.read(path):
        if atoms.info.get("defect") == defect:
            cells = kept.setdefault(str(atoms.info.get("transition")), {})
            frames = cells.setdefault(len(atoms), {})
            state, geometry = str(atoms.info.get("state")), str(atoms.info.get("geometry"))
            if (state, geometry) in frames:
                raise ValueError(
                    f"{path.name} has two frames of {defect} with state={state} geometry={geometry}: leave one"
                )
            frames[state, geometry] = atoms
    if needed not in kept:
        raise ValueError(
            f"{path.name} has no {needed} of {defect} (of which it has: {', '.join(kept) or 'none'}): label the defect in both "
            "states, as docs/emission.md says, or choose one that is there"
        )
    found: dict[str, dict[int, Transition]] = {}
    for name, cells in kept.items():
        for size, frames in sorted(cells.items()):
            check(frames, path.name, f"for {name} of {defect} in a cell of {size} atoms")
            one = Transition(defect, frames)
            found.setdefault(name, {})[one.n] = one
    return found


def check(frames: dict[tuple[str, str], Atoms], file: str, where: str) -> None:
    """Refuse (ValueError) a cell that lacks a frame of one of two states to be compared, or has them at different places."""
    needed = [(state, "ground") for state in STATES]
    if any(geometry in DISTORTIONS for _, geometry in frames):
        needed += [(state, geometry) for geometry in DISTORTIONS for state in ("final", "partner")]
    if missing := [key for key in needed if key not in frames]:
        state, geometry = missing[0]
        raise ValueError(
            f"{file} lacks state={state} geometry={geometry} {where}: what couples is the difference of the forces of two states at "
            "the same places; label it"
        )
    for geometry in STATES + DISTORTIONS:
        places = [atoms.positions for (_, which), atoms in frames.items() if which == geometry]
        if any(not np.allclose(other, places[0], atol=1e-4) for other in places):
            raise ValueError(
                f"{file} has states at geometry={geometry} at different places {where}: label them at the same"
            )


def symmetric_part(atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
    """Return the part of `vectors` (N, 3) that has the full symmetry of the cell."""
    cell, kept = atoms.copy(), vectors.copy()
    HeldSymmetry(cell, symprec=1e-3).adjust_forces(cell, kept)
    return kept


def on_sites(transition: Transition, vectors: np.ndarray, embedded: Embedded) -> np.ndarray:
    """Return `vectors` (N, 3) of the atoms of the cell on the sites of an embedded defect: (n_sites, 3).

    An atom that has several images equally near to the defect gives each an equal part. What lies beyond the embedding is left
    out. ValueError if the cell does not hold this defect.
    """
    primitive = embedded.perfect.primitive
    defect = structures.Defect.of(structures.supercell(primitive, transition.n), transition.defect)
    stretched = transition.ground.copy()
    stretched.set_cell(defect.pristine.cell, scale_atoms=True)
    same = len(stretched) == len(defect.atoms) and (stretched.numbers == defect.atoms.numbers).all()
    if same:
        shifts, _ = find_mic(stretched.positions - defect.atoms.positions, defect.pristine.cell)
        same = np.linalg.norm(shifts - np.median(shifts, axis=0), axis=1).max() < 1.0
    if not same:
        raise ValueError(
            f"the cell of {transition.ground.symbols.formula} is no {transition.n} x {transition.n} cell with {transition.defect} as "
            f"structures.Defect.of(sheet, {transition.defect!r}) lists it: sort its atoms in that order and shift it onto that lattice"
        )
    first, second = defect.pristine.cell.array[:2]
    images = np.array([a * first + b * second for a in (-1, 0, 1) for b in (-1, 0, 1)])
    places = defect.from_site[:, None] + images
    lengths = np.linalg.norm(places, axis=2)
    nearest = lengths < lengths.min(axis=1, keepdims=True) + 0.01
    on_site = np.zeros((len(embedded.sites), 3))
    atoms, _ = np.nonzero(nearest)
    apart, sites = cKDTree(embedded.places).query(places[nearest])
    there = apart < 0.01
    shares = vectors / nearest.sum(axis=1)[:, None]
    np.add.at(on_site, sites[there], shares[atoms[there]])
    return on_site


def factors(transition: Transition, force_constants: np.ndarray) -> dict[str, emission.HuangRhys]:
    """Compute the partial factors of the modes of the cell itself, from each measure of how far the minima lie apart that is there.

    `force_constants` (N, N, 3, 3) in eV/A^2 of the ground state.
    """
    masses = transition.ground.get_masses()
    measures = {
        f"forces at the {state} state's minimum": emission.huang_rhys(masses, force_constants, forces=push)
        for state, push in transition.pushes.items()
    }
    if ("final", "final") in transition.frames:
        moved = symmetric_part(transition.ground, transition.moved("final", "final"))
        measures = {
            "displacements": emission.huang_rhys(masses, force_constants, displacements=moved)
        } | measures
    return measures


def factors_of_one_partner(
    transition: Transition, force_constants: np.ndarray
) -> dict[str, emission.HuangRhys]:
    """Compute the same for an electron in one partner of a degenerate level, from its linear coupling and its minimum, where DFT has them.

    The first is what one partner adds to `pushes`, the second the whole displacement from the ground state's minimum.
    """
    masses, found = transition.ground.get_masses(), {}
    if transition.jahn_teller is not None:
        found["linear coupling"] = emission.huang_rhys(masses, force_constants, forces=transition.jahn_teller)
    if ("partner", "partner") in transition.frames:
        moved = transition.moved("partner", "partner")
        found["displacement to its minimum"] = emission.huang_rhys(
            masses, force_constants, displacements=moved
        )
    return found


def peaks(grid: np.ndarray, density: np.ndarray, least: float = 0.03) -> list[tuple[float, float, float]]:
    """Return the peaks of S(w) (n,) on `grid` (n,) in THz: frequency and full width at half prominence in THz, share of S within it.

    A Gaussian has 76 % within it. Listed are those with a share of `least` or more, the largest first.
    """
    found, _ = find_peaks(density)
    _, _, left, right = peak_widths(density, found)
    step, total = grid[1] - grid[0], np.trapezoid(density, grid)
    shares = [
        np.trapezoid(density[int(a) : int(b) + 2], dx=step) / total for a, b in zip(left, right, strict=True)
    ]
    listed = zip(grid[found], step * (right - left), shares, strict=True)
    return sorted(
        ((float(at), float(width), float(share)) for at, width, share in listed if share >= least),
        key=lambda one: -one[2],
    )
