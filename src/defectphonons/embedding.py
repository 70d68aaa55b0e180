"""A defect in a perfect lattice: the change that it makes of the dynamical matrix, from the terms of atoms round it.

The dynamical matrix of the sheet with the defect is that of the perfect sheet, which is block-circulant, and
a change on the sites round the defect. A missing atom stays as a site without any coupling (a ghost), and
is left out of every density of states; on the site of a substituted one mass and couplings change. Frequencies are in THz, eigenvalues of dynamical matrices in THz^2.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.fft
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import find_mic
from phonopy.physical_units import get_physical_units
from scipy.sparse import bsr_array, csr_array, kron
from scipy.spatial import cKDTree

from defectphonons import force_constants, relaxation, structures
from defectphonons.hessian.terms import Hessian, Term
from defectphonons.potentials import Potential, evaluate
from defectphonons.structures import Defect

TO_THZ2 = get_physical_units().DefaultToTHz ** 2  # from eV/(A^2 u)


@dataclass(frozen=True)
class Perfect:
    """The dynamical matrix of a perfect sheet, or chain, of cells with S sites each."""

    primitive: Atoms
    shifts: np.ndarray  # (n_shifts, 2) lattice vectors to the cell that a block couples to
    blocks: np.ndarray  # (n_shifts, 3S, 3S) THz^2

    @classmethod
    def of(cls, hessian: Hessian, primitive: Atoms) -> "Perfect":
        """Make it from the force constants of the primitive cell, each with the shift of the cell that it reaches to."""
        shifts, into = np.unique(hessian.shifts[:, :2], axis=0, return_inverse=True)
        roots = np.sqrt(primitive.get_masses())
        weights = TO_THZ2 / (roots[hessian.first] * roots[hessian.second])
        size = len(primitive)
        blocks = np.zeros((len(shifts), size, size, 3, 3))
        np.add.at(
            blocks, (into.ravel(), hessian.first, hessian.second), weights[:, None, None] * hessian.blocks
        )
        return cls(primitive, shifts, blocks.swapaxes(2, 3).reshape(-1, 3 * size, 3 * size))

    def fourier(self, grid: tuple[int, int], twist: np.ndarray | None = None) -> np.ndarray:
        """Return D(q) (n1, n2, 3S, 3S) in THz^2 at the q of an n1 x n2 grid plus `twist`, in reciprocal lattice vectors.

        With the phases of cells, not of atoms. Exact at each q, however small the grid is.
        """
        phases = 1.0 if twist is None else np.exp(2j * np.pi * self.shifts @ twist)[:, None, None]
        wrapped = np.zeros((*grid, *self.blocks.shape[1:]), dtype=complex)
        np.add.at(wrapped, tuple((self.shifts % grid).T), phases * self.blocks)
        # D(q) is the sum of D(R) exp(i q R): numpy's inverse transform without its factor.
        return scipy.fft.ifft2(wrapped, axes=(0, 1), norm="forward")


def green(values: np.ndarray, vectors: np.ndarray, z: complex, sites: np.ndarray) -> np.ndarray:
    """Return 1 / (z - D) in 1/THz^2 between `sites` (n_sites, 3) of a perfect n1 x n2 cell: (3 n_sites, 3 n_sites).

    By the eigenvalues `values` (n1, n2, 3S) and eigenvectors `vectors` (n1, n2, 3S, 3S) of Perfect.fourier without a
    twist: for many z this is faster than inverses. z in THz^2.
    """
    n1, n2, width = values.shape
    waves = (vectors / (z - values)[:, :, None]) @ vectors.conj().swapaxes(2, 3)
    cells = scipy.fft.fft2(waves, axes=(0, 1), norm="forward")
    cells = cells.reshape(n1, n2, width // 3, 3, width // 3, 3).swapaxes(3, 4)
    u, v = np.moveaxis((sites[None, :, :2] - sites[:, None, :2]) % (n1, n2), -1, 0)
    kinds = sites[:, 2]
    return cells[u, v, kinds[:, None], kinds[None]].swapaxes(1, 2).reshape(3 * len(kinds), -1)


@dataclass(frozen=True)
class Embedded:
    """A perfect sheet with a defect: on some sites its dynamical matrix differs."""

    perfect: Perfect
    sites: np.ndarray  # (n_sites, 3): two lattice vectors to the cell, the site in it; the defect's own first
    change: bsr_array  # (3 n_sites, 3 n_sites) THz^2, symmetric, in 3 x 3 blocks
    own: int = 1  # how many of `sites`, the first, are the defect's own
    vacant: tuple[int, ...] = ()  # the sites that are empty: `change` takes away all that couples to them
    elements: dict[int, str] = field(
        default_factory=dict
    )  # of the sites that hold another than the perfect sheet

    @cached_property
    def places(self) -> np.ndarray:
        """Return the ideal places (n_sites, 3) in A, from the middle of the defect's own sites."""
        primitive = self.perfect.primitive
        places = self.sites[:, :2] @ primitive.cell.array[:2] + primitive.positions[self.sites[:, 2]]
        return places - places[: self.own].mean(axis=0)

    @cached_property
    def symbols(self) -> np.ndarray:
        """Return the element on each site (n_sites,); on a vacant one that of the perfect sheet."""
        symbols = np.array([*self.perfect.primitive.symbols], dtype="<U2")[self.sites[:, 2]]
        for site, element in self.elements.items():
            symbols[site] = element
        return symbols

    @cached_property
    def masses(self) -> np.ndarray:
        """Return the masses (n_sites,) in u of these elements."""
        masses = self.perfect.primitive.get_masses()[self.sites[:, 2]]
        for site, element in self.elements.items():
            masses[site] = atomic_masses[atomic_numbers[element]]
        return masses

    def within(self, outer: float, inner: float = 0.0) -> np.ndarray:
        """Return the sites with an atom that lie from `inner`, without it unless it is 0, to `outer` (A) from the middle."""
        distances = np.linalg.norm(self.places, axis=1)
        inside = (distances > (inner or -1.0)) & (distances <= outer)
        inside[list(self.vacant)] = False
        return np.flatnonzero(inside)

    @cached_property
    def operations(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the symmetry operations of the change: rotations about the axis through the defect, mirrors, and their products.

        The mirrors are those that hold the axis, and that of the plane of the sheet through the middle of the defect. Of
        each operation the matrix (3, 3) and to which site it takes each (n_sites,).
        """
        turns = [np.pi / 3 * k for k in range(6)]
        rotations = [
            np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]]) for t in turns
        ]
        vertical = rotations + [rotation @ np.diag([1.0, -1.0, 1.0]) for rotation in rotations]
        tree, symmetries = cKDTree(self.places), []
        for operation in vertical + [operation @ np.diag([1.0, 1.0, -1.0]) for operation in vertical]:
            apart, image = tree.query(self.places @ operation.T)
            if apart.max() > 0.01 or (self.symbols[image] != self.symbols).any():
                continue
            matrix = on_coordinates(operation, image)
            if abs(matrix @ self.change @ matrix.T - self.change).max() <= 1e-6 * abs(self.change).max():
                symmetries.append((operation, image))
        return symmetries

    def along(self, sites: np.ndarray) -> np.ndarray:
        """Return vectors (n, 3 n_sites) whose densities of states add up to that of `sites` (indices).

        All three axes of one of each set of sites that the operations take into each other, as long as the root of
        their number.
        """
        images = np.array([image for _, image in self.operations])
        first, numbers = np.unique(images[:, sites].min(axis=0), return_counts=True)
        vectors = np.zeros((len(first), 3, len(self.sites), 3))
        for axis in range(3):
            vectors[np.arange(len(first)), axis, first, axis] = np.sqrt(numbers)
        return vectors.reshape(3 * len(first), -1)

    def find(self, places: np.ndarray) -> np.ndarray:
        """Return which of `sites` lie at `places` (n, 3) in A: (n,). Raises ValueError if one is not among them."""
        apart, indices = cKDTree(self.places).query(places)
        if apart.max() > 0.01:
            raise ValueError(
                f"{np.linalg.norm(places[apart.argmax()]):.1f} A from the defect there is no site that it changes: "
                "embed a larger region, or ask for places nearer to it"
            )
        return indices


def without_image_strain(
    primitive: Atoms, defect: Defect, relaxed: Atoms, potential: Potential, folder: Path
) -> tuple[Defect, Atoms, float]:
    """Relax the cell of a defect under the strain that cancels that of its images; also returns its elastic dipole in eV.

    The elastic dipole is P = -(stress x volume), a trace of two equal entries, of the relaxed defect in its cell of fixed
    area A, beyond that of the perfect sheet (C. Varvenne and E. Clouet, Phys. Rev. B 96, 224103 (2017)). About
    one defect in an infinite isotropic sheet the displacement P / (2 pi C11 r) dilates nothing outside and adds the area
    P / C11 within; in the cell all that surrounds it is stretched by as much, over its area. So the cell is strained by
    P / (2 C11 A) along each axis. Relaxed geometries are cached in `folder`.
    """
    area = np.linalg.norm(np.cross(*relaxed.cell.array[:2]))
    height = relaxed.cell.array[2, 2]
    stress, before = (evaluate(potential, atoms)["stress"][:2].mean() for atoms in (relaxed, primitive))
    dipole = -(stress - before) * area * height
    stiffness = relaxation.elastic_constants(primitive, potential)[0] * units.J / units.m**2
    strain = dipole / (2 * stiffness * area)
    n = round((len(defect.pristine) / len(primitive)) ** 0.5)
    ideal = structures.supercell(structures.strained(primitive, strain), n)
    start = structures.strained(relaxed, strain)
    strained = relaxation.relax(start, potential, hold_symmetry=True, folder=folder)
    return Defect.of(ideal, defect.name), strained, float(dipole)


def embed(
    primitive: Atoms,
    defect: Defect,
    relaxed: Atoms,
    potential: Potential,
    *,
    radius: float,
    dtype: str = "float64",
    folder: Path,
) -> tuple[Embedded, dict[str, float]]:
    """Return the defect of a `relaxed` cell, isolated in the infinite sheet of `primitive`; and how good the seam is.

    A Hessian is a sum of terms of single atoms (defectphonons.hessian.terms), each symmetric and with rows that add up to
    zero. The terms of atoms within `radius` (A) of the defect are those of the relaxed cell, all others
    those of the perfect sheet, so that permutation symmetry and the acoustic sum rule hold at the seam as
    everywhere else and nothing needs repair. What is neglected is how the strain round the defect
    changes the terms outside. What was computed is cached in `folder`.

    Residuals, in eV/A^2: `sum_rule` and `permutation`, and `seam`, the largest change of a constant within the
    terms of the atoms in the last 3 A of the region.

    Raises ValueError if `radius` is so small that a changed site takes part in terms outside, or so large
    that images of the defect take part in terms inside.
    """
    # Ideal places of the relaxed cell's atoms, in the cells in which phonopy lists them.
    displacements = defect.atoms.positions - relaxed.positions
    primitive, relaxed = force_constants.listed(primitive), force_constants.listed(relaxed)
    ideal = relaxed.copy()
    ideal.positions += displacements
    perfect = {
        int(term.atoms[0]): term
        for term in force_constants.terms(primitive, potential, dtype=dtype, folder=folder)
    }
    reach = max(np.linalg.norm(nodes(term, primitive), axis=1).max() for term in perfect.values())
    changed = np.array([*defect.empty, *defect.lattice_sites[defect.own]])
    places = find_mic(defect.pristine.positions[changed] - defect.site, defect.pristine.cell)[0]
    check_radius(radius, reach + np.linalg.norm(places, axis=1).max(), relaxed.cell.lengths()[0])
    basis = defect.lattice_sites % len(primitive)
    changes = Changes(primitive, places, changed % len(primitive))
    vacant = tuple(range(len(defect.empty)))
    for number in vacant:
        changes.add(perfect[int(changed[number]) % len(primitive)], places[number], primitive, sign=-1)
    seam = 0.0
    for term in force_constants.terms(relaxed, potential, dtype=dtype, folder=folder):
        centre = int(term.atoms[0])
        if defect.distances[centre] >= radius:
            continue
        place, before = defect.from_site[centre], perfect[int(basis[centre])]
        sites = changes.add(term, place, ideal, basis)
        sites_before = changes.add(before, place, primitive, sign=-1)
        if defect.distances[centre] > radius - 3:
            order = [sites_before.index(site) for site in sites]
            seam = max(seam, float(abs(term.matrix - before.matrix[np.ix_(order, order)]).max()))
    constants, change = changes.matrices()
    residuals = {
        "sum_rule": float(abs(constants @ np.tile(np.eye(3), (len(changes.index), 1))).max()),
        "permutation": float(abs(constants - constants.T).max()),
        "seam": seam,
    }
    whole = Perfect.of(Hessian.of(perfect.values()), primitive)
    elements = dict(enumerate(relaxed.symbols[defect.own], start=len(vacant)))
    host = Embedded(whole, np.array(list(changes.index)), change, len(changed), vacant)
    return with_elements(host, elements), residuals


def with_elements(embedded: Embedded, elements: dict[int, str]) -> Embedded:
    """Give the atoms on the sites `elements`, and no others, the masses of these elements, with the same force constants.

    With none of them a substituted atom differs by its force constants alone.
    """
    heavier = replace(embedded, elements=elements)
    roots = np.sqrt(embedded.masses / heavier.masses)
    first, second = pairs(embedded.change)
    rows, columns = [first], [second]
    blocks = [(roots[first] * roots[second])[:, None, None] * embedded.change.data]
    numbers = {tuple(site): number for number, site in enumerate(embedded.sites.tolist())}
    perfect = embedded.perfect
    width = perfect.blocks.shape[1] // 3
    # The couplings of the perfect sheet change with the masses too: D + V becomes S (D + V) S.
    lighter = np.flatnonzero(roots != 1).tolist()
    for site in lighter:
        u, v, kind = embedded.sites[site].tolist()
        for (du, dv), block in zip(perfect.shifts.tolist(), perfect.blocks, strict=True):
            for other in range(width):
                coupling = block[3 * kind : 3 * kind + 3, 3 * other : 3 * other + 3]
                if not coupling.any():
                    continue
                partner = numbers[u + du, v + dv, other]
                scaled = (roots[site] * roots[partner] - 1) * coupling
                rows, columns, blocks = rows + [[site]], columns + [[partner]], blocks + [scaled[None]]
                if partner not in lighter:
                    rows, columns, blocks = rows + [[partner]], columns + [[site]], blocks + [scaled.T[None]]
    change = block_matrix(*map(np.concatenate, (rows, columns, blocks)), len(embedded.sites))
    return replace(heavier, change=change)


def check_radius(radius: float, reach: float, apart: float) -> None:
    """Refuse (ValueError) a radius within which terms reach to the defect from outside, or to its images `apart` (A)."""
    # Beyond half the cell some atoms of a shell are nearer to an image, and the region would lose the defect's symmetry.
    largest = min(apart - reach, apart / 2)
    if not reach < radius < largest:
        raise ValueError(
            f"radius = {radius:g} A: must be above {reach:.1f} A, as far as the terms of an atom reach, and below "
            f"{largest:.1f} A, where those of the defect's images begin; with a larger supercell it may be larger"
        )


class Changes:
    """Terms added to those of a perfect lattice, or taken from them, between sites that are numbered as they come.

    All places are vectors in A from the middle of the defect, whose own sites at `places` (n, 3) are the first; `kinds`
    (n,) are their sites in the primitive cell.
    """

    def __init__(self, primitive: Atoms, places: np.ndarray, kinds: np.ndarray):
        self.primitive = primitive
        self.middle = primitive.positions[kinds[0]] - places[0]
        # Two lattice vectors to the cell and the site in it -> number.
        self.index = {site: number for number, site in enumerate(self.sites(places, kinds))}
        self.rows: list[np.ndarray] = []
        self.columns: list[np.ndarray] = []
        self.blocks: list[np.ndarray] = []  # eV/A^2

    def add(
        self, term: Term, place: np.ndarray, atoms: Atoms, basis: np.ndarray | None = None, sign: int = 1
    ) -> list[tuple[int, int, int]]:
        """Add `sign` times the term of the atom at `place` and return its sites.

        The term is one of `atoms`, which stand on their ideal places; `basis` has the site of the primitive cell of each.
        """
        sites = self.sites(place + nodes(term, atoms), term.atoms if basis is None else basis[term.atoms])
        numbers = np.array([self.index.setdefault(site, len(self.index)) for site in sites])
        self.rows.append(np.repeat(numbers, len(numbers)))
        self.columns.append(np.tile(numbers, len(numbers)))
        self.blocks.append(sign * term.matrix.reshape(-1, 3, 3))
        return sites

    def sites(self, places: np.ndarray, kinds: np.ndarray) -> list[tuple[int, int, int]]:
        """Return the sites at `places` (n, 3), of which `kinds` (n,) are the sites in the primitive cell."""
        positions = self.primitive.positions
        cells = (places + self.middle - positions[kinds]) @ np.linalg.inv(self.primitive.cell.array)
        whole = np.rint(cells).astype(int)
        # The cell may be strained by a little.
        assert abs(cells - whole).max() < 0.1, "the defect is not on the lattice of the perfect sheet"
        return [(u, v, s) for (u, v, _), s in zip(whole.tolist(), kinds.tolist(), strict=True)]

    def matrices(self) -> tuple[bsr_array, bsr_array]:
        """Return the changes of the force constants in eV/A^2 and of the dynamical matrix in THz^2."""
        first, second, blocks = (np.concatenate(parts) for parts in (self.rows, self.columns, self.blocks))
        roots = np.sqrt(self.primitive.get_masses())[[site for *_, site in self.index]]
        weights = TO_THZ2 / (roots[first] * roots[second])
        size = len(self.index)
        return (
            block_matrix(first, second, blocks, size),
            block_matrix(first, second, weights[:, None, None] * blocks, size),
        )


def corrected(embedded: Embedded, defect: Defect, difference: np.ndarray) -> tuple[Embedded, np.ndarray]:
    """Add a difference of force constants, given in a supercell, to an embedding; also returns the atoms it is added for.

    `difference` (N, N, 3, 3) in eV/A^2 is what another method has for the atoms of `defect` in its supercell, less what
    the embedded model has for the same cell. Only pairs count of which both atoms lie within half a lattice vector of
    the site and no image is nearer. The acoustic sum rule is restored on the diagonal. With a method whose supercells
    are small, such as DFT, this gives how far the model's own errors move the modes of the isolated defect.
    """
    reach = defect.atoms.cell.lengths()[:2].min() / 2
    near = np.flatnonzero(defect.distances < reach - 0.01)
    places = defect.from_site[near]
    apart = (places[:, None] - places).reshape(-1, 3)
    nearest = find_mic(apart, defect.atoms.cell)[1] > np.linalg.norm(apart, axis=1) - 0.01
    blocks = difference[np.ix_(near, near)] * nearest.reshape(len(near), len(near), 1, 1)
    blocks = (blocks + blocks.transpose(1, 0, 3, 2)) / 2
    diagonal = np.arange(len(near))
    blocks[diagonal, diagonal] -= blocks.sum(axis=1)
    sites = embedded.find(places)
    roots = np.sqrt(embedded.masses[sites])
    blocks *= TO_THZ2 / (roots[:, None] * roots)[:, :, None, None]
    added = block_matrix(
        sites.repeat(len(sites)), np.tile(sites, len(sites)), blocks.reshape(-1, 3, 3), len(embedded.sites)
    )
    return replace(embedded, change=(embedded.change + added).tobsr((3, 3))), near


def nodes(term: Term, atoms: Atoms) -> np.ndarray:
    """Return vectors (M, 3) in A from the atom that a term comes with to all that it depends on."""
    places = atoms.positions[term.atoms] + term.shifts @ atoms.cell.array
    return places - places[0]


def block_matrix(first: np.ndarray, second: np.ndarray, blocks: np.ndarray, size: int) -> bsr_array:
    """Return the matrix (3 size, 3 size) with the sums of `blocks` (n, 3, 3) at block row `first` and column `second`."""
    codes, into = np.unique(first * size + second, return_inverse=True)
    adding = csr_array((np.ones(len(into)), (into, np.arange(len(into)))))
    sums = (adding @ blocks.reshape(-1, 9)).reshape(-1, 3, 3)
    starts = np.searchsorted(codes, size * np.arange(size + 1))
    return bsr_array((sums, codes % size, starts), shape=(3 * size, 3 * size))


def pairs(matrix: bsr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return block row (n,) and block column (n,) of each of the blocks in `matrix.data`."""
    return np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr)), matrix.indices


def on_coordinates(operation: np.ndarray, image: np.ndarray) -> csr_array:
    """Return what an operation, as in Embedded.operations, does to displacements: (3 n_sites, 3 n_sites)."""
    sites = np.arange(len(image))
    return kron(csr_array((np.ones(len(image)), (image, sites))), operation, format="csr")
