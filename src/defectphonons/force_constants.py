"""Force constants from displaced cells by central differences, or exact ones; resumable."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.symmetry import Symmetry
from tqdm import tqdm

from defectphonons import caching, fingerprint, parallel
from defectphonons.hessian.terms import Hessian, Term
from defectphonons.potentials import Potential, evaluate

# PyTorch and MACE are imported where they are needed: who reads kept constants need not wait for them.
if TYPE_CHECKING:
    from defectphonons.hessian.layers import Layers

Size = int | tuple[int, int, int]  # of a supercell: n for n x n x 1, or a number for each lattice vector
SYMPREC = 1e-4  # A
AT_ONCE = 4  # atoms a pass on a CPU: fewer repeat small steps, more fall out of the cache


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """Return the same cell for phonopy, with ASE's masses: phonopy's own are older, and differ in the fourth digit."""
    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        positions=atoms.positions,
        masses=atoms.get_masses(),
    )


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """Return the same cell for ASE, periodic in all directions."""
    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def undisplaced(atoms: Atoms, n: Size) -> Phonopy:
    """Return a phonopy object of the supercell of `atoms`, itself the primitive cell."""
    sizes = [n, n, 1] if np.ndim(n) == 0 else n
    return Phonopy(to_phonopy(atoms), supercell_matrix=np.diag(sizes), primitive_matrix="P", symprec=SYMPREC)


def displaced(atoms: Atoms, n: Size, displacement: float) -> Phonopy:
    """Return a phonopy object of the supercell of `atoms` with its symmetry-inequivalent displacements.

    Always along +u and -u, `displacement` in A: one-sided steps leave the cubic term, a few cm-1.
    """
    phonon = undisplaced(atoms, n)
    phonon.generate_displacements(distance=displacement, is_plusminus=True)
    return phonon


def of(
    atoms: Atoms,
    n: Size | None,
    potential: Potential,
    *,
    method: str,
    displacement: float,
    dtype: str = "float64",
    folder: Path,
) -> Phonopy:
    """Compute force constants by `analytic` or `by_differences`, as `method` ('analytic' or 'finite_differences') says."""
    if method == "analytic":
        return analytic(atoms, n, potential, dtype=dtype, folder=folder)
    return by_differences(atoms, n, potential, displacement=displacement, folder=folder)


def by_differences(
    atoms: Atoms, n: Size, potential: Potential, *, displacement: float, folder: Path
) -> Phonopy:
    """Return a phonopy object with the force constants (eV/A^2) of the supercell of `atoms`.

    Their shape is (len(atoms), N, 3, 3): rows for one cell, columns for the N atoms of all.
    `atoms` is relaxed; `displacement` in A. The forces of each displaced cell are cached in
    `folder`/forces as they come, in a folder for each geometry and model, so that what was interrupted
    goes on where it stopped.
    """
    phonon = displaced(atoms, n, displacement)
    phonon.forces = displaced_forces(phonon, potential, folder / "forces")
    phonon.produce_force_constants(
        fc_calculator="traditional", calculate_full_force_constants=False, show_drift=False
    )
    return phonon


def displaced_forces(phonon: Phonopy, potential: Potential, folder: Path) -> np.ndarray:
    """Return the forces (n_displacements, N, 3) in eV/A of the displaced cells, from `folder` where they are cached."""
    cells = phonon.supercells_with_displacements
    own = folder / caching.geometry_key(
        cells, potential.checksum, fingerprint.of("defectphonons.potentials.evaluate")
    )
    forces = []
    for i, cell in enumerate(tqdm(cells, desc="displacements", unit="cell", disable=len(cells) < 10)):
        path = own / f"{i:04d}.npz"
        arrays = caching.cached(path)
        if arrays is None:
            arrays = {"forces": evaluate(potential, to_ase(cell))["forces"]}
            caching.cache(path, **arrays)
        forces.append(arrays["forces"])
    return np.array(forces)


def analytic(
    atoms: Atoms, n: Size | None, potential: Potential, *, dtype: str = "float64", folder: Path
) -> Phonopy:
    """Return the same as `by_differences` without displacing atoms: second derivatives of the model's energy.

    Exact to rounding for every n: what reaches round the supercell is folded into it. Without `n`
    the supercell is so large that nothing does, and phonopy's frequencies are exact at every q.
    Raises ValueError for a model that `defectphonons.hessian.layers` does not know.
    """
    primitive = listed(atoms)
    hessian = unfolded(primitive, potential, dtype=dtype, folder=folder)
    phonon = undisplaced(atoms, n or unwrapped(hessian, primitive))
    phonon.force_constants = folded(hessian, phonon)
    return phonon


def listed(atoms: Atoms) -> Atoms:
    """Return the same cell as phonopy lists it: some atoms in another cell, from which the shifts of constants then count."""
    return to_ase(undisplaced(atoms, 1).primitive)


def unwrapped(hessian: Hessian, atoms: Atoms) -> int:
    """Return the smallest n for which every constant is one of the shortest images in the n x n x 1 supercell."""
    places = (
        atoms.positions[hessian.second] + hessian.shifts @ atoms.cell.array - atoms.positions[hessian.first]
    )
    reach = np.linalg.norm(places[abs(hessian.blocks).max(axis=(1, 2)) > 0], axis=1).max()
    first, second = atoms.cell.array[:2]
    shortest = min(np.linalg.norm(vector) for vector in (first, second, first + second, first - second))
    return int(2 * reach / shortest) + 1


def unfolded(atoms: Atoms, potential: Potential, *, dtype: str = "float64", folder: Path) -> Hessian:
    """Return the force constants of the periodic cell `atoms`, each with the shift of the cell that it reaches to."""
    return Hessian.of(terms(atoms, potential, dtype=dtype, folder=folder))


def terms(atoms: Atoms, potential: Potential, *, dtype: str = "float64", folder: Path) -> Iterator[Term]:
    """Return the terms of all atoms of the periodic cell `atoms`, computed in `dtype`.

    Those of symmetry-inequivalent atoms are computed, and cached in `folder`/hessian as they come,
    in a folder for each geometry, model and what defectphonons.hessian.layers computes, so that what was interrupted goes on.
    """
    symmetry = Symmetry(to_phonopy(atoms), symprec=SYMPREC)
    inequivalent = symmetry.get_independent_atoms().tolist()
    code = fingerprint.of("defectphonons.hessian.layers.Layers")
    own = folder / "hessian" / caching.geometry_key([atoms], potential.checksum, code, dtype)
    paths = {atom: own / f"{atom:04d}.npz" for atom in inequivalent}
    cached = {atom: caching.cached(path) for atom, path in paths.items()}
    missing = {atom: path for atom, path in paths.items() if cached[atom] is None}
    if missing:
        compute_terms(checked_layers(potential, atoms, dtype), missing)
        cached |= {atom: caching.cached(path) for atom, path in missing.items()}
    return with_equivalent([Term(**arrays) for arrays in cached.values()], atoms, symmetry)


def compute_terms(layers: "Layers", wanted: dict[int, Path]) -> None:
    """Write the term of each atom of `wanted` to its path, with one process a core; on a GPU in large passes.

    Raises RuntimeError if a process fails; what is written by then stays.
    """
    with tqdm(total=len(wanted), desc="Hessian", unit="atom", disable=len(wanted) < 10) as bar:
        parallel.on_every_core(
            lambda atoms: write_terms(layers, {atom: wanted[atom] for atom in atoms}),
            list(wanted), AT_ONCE, wanted.values(), bar,
        )  # fmt: skip


def write_terms(layers: "Layers", wanted: dict[int, Path]) -> Iterator[int]:
    """Compute and write terms pass by pass; yields how many each pass wrote.

    On a GPU as many atoms a pass as half of the free memory holds, by what one took; half as many
    after memory ran out.
    """
    import torch

    gpu = layers.like["device"].type == "cuda"
    waiting, at_once = list(wanted), 1 if gpu else AT_ONCE
    while waiting:
        some = waiting[:at_once]
        try:
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if gpu else 0
            computed = layers.terms(some)
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once = at_once // 2
            torch.cuda.empty_cache()
            continue
        for atom, term in zip(some, computed, strict=True):
            caching.cache(wanted[atom], **vars(term))
        if gpu and waiting == list(wanted):  # the first pass
            taken = torch.cuda.max_memory_allocated() - before
            at_once = max(1, int(torch.cuda.mem_get_info()[0] / 2 / taken))
        waiting = waiting[len(some) :]
        yield len(some)


def checked_layers(potential: Potential, atoms: Atoms, dtype: str = "float64") -> "Layers":
    """Return the model layer by layer in `dtype`; ValueError unless that gives, in float64, the energy and forces of the model."""
    import torch

    from defectphonons.hessian.layers import Layers

    if not hasattr(potential.calculator, "models"):
        raise ValueError(f'{potential.name} is more than a MACE model: use method = "finite_differences"')
    network = potential.calculator.models[0]
    head = getattr(network, "heads", [potential.calculator.head]).index(potential.calculator.head)
    layers = Layers(network, atoms, head)
    expected = evaluate(potential, atoms)
    errors = {
        "eV": abs(layers.energy - expected["energy"]) / len(atoms),
        "eV/A": abs(layers.forces - expected["forces"]).max(),
    }
    for unit, error in errors.items():
        if error > 1e-8:
            raise ValueError(
                f"model {potential.name} has parts that defectphonons.hessian.layers leaves out: without them it is "
                f'{error:.1e} {unit} per atom from itself; use method = "finite_differences"'
            )
    if dtype == "float64":
        return layers
    return Layers(copy.deepcopy(network).to(getattr(torch, dtype)), atoms, head)


def rounding_error(potential: Potential, atoms: Atoms, dtype: str) -> float:
    """Return the largest difference of terms in `dtype` from those in float64, over the largest constant; of three atoms."""
    sample = np.linspace(0, len(atoms) - 1, 3).astype(int)
    rough, fine = (
        checked_layers(potential, atoms, precision).terms(sample) for precision in (dtype, "float64")
    )
    differences = [abs(one.matrix - two.matrix).max() for one, two in zip(rough, fine, strict=True)]
    return float(max(differences) / max(abs(term.matrix).max() for term in fine))


def with_equivalent(terms: list[Term], atoms: Atoms, symmetry: Symmetry) -> Iterator[Term]:
    """Yield the terms of all atoms from those of the inequivalent ones, rotated."""
    operations = symmetry.symmetry_operations
    places, lattice = atoms.get_scaled_positions(wrap=False), atoms.cell.array.T
    done = set()
    for term in terms:
        for rotation, translation, image in zip(
            operations["rotations"], operations["translations"], symmetry.atomic_permutations, strict=True
        ):
            atom = int(image[term.atoms[0]])
            if atom in done:
                continue
            done.add(atom)
            # The cell that each atom is moved to, from the one that its image is listed in.
            cells = np.rint(places @ rotation.T + translation - places[image]).astype(int)
            shifts = term.shifts @ rotation.T + cells[term.atoms]
            cartesian = lattice @ rotation @ np.linalg.inv(lattice)
            yield Term(image[term.atoms], shifts, cartesian @ term.matrix @ cartesian.T)


def folded(hessian: Hessian, phonon: Phonopy) -> np.ndarray:
    """Return the force constants (len(primitive), N, 3, 3) in eV/A^2 between an atom and all images of another."""
    primitive, supercell = phonon.primitive, phonon.supercell
    sizes = np.diag(phonon.supercell_matrix)
    atom_of = np.array([primitive.p2p_map[index] for index in primitive.s2p_map])
    apart = (supercell.positions - primitive.positions[atom_of]) @ np.linalg.inv(primitive.cell)
    cells = np.rint(apart).astype(int)
    index = np.empty((len(primitive), *sizes), dtype=int)
    index[(atom_of, *(cells % sizes).T)] = np.arange(len(supercell))
    target = (cells[primitive.p2s_map][hessian.first] + hessian.shifts) % sizes
    matrices = np.zeros((len(primitive), len(supercell), 3, 3))
    np.add.at(matrices, (hessian.first, index[(hessian.second, *target.T)]), hessian.blocks)
    return matrices


def of_some(phonon: Phonopy, kept: np.ndarray, atoms: Atoms) -> Phonopy:
    """Return a phonopy object of `atoms` with the force constants that `phonon` has between its atoms `kept`.

    Only the self terms change, to keep the acoustic sum rule. With all atoms but one this is what
    pristine force constants say of a vacancy.
    """
    matrices = compact_fc_to_full_fc(phonon.primitive, phonon.force_constants)[np.ix_(kept, kept)]
    diagonal = np.arange(len(kept))
    matrices[diagonal, diagonal] -= matrices.sum(axis=1)
    left = undisplaced(atoms, 1)
    left.force_constants = matrices
    return left


def largest_beyond(phonon: Phonopy, distance: float) -> float:
    """Return the largest force constant of atoms more than `distance` A apart, over the largest between two atoms."""
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    apart = np.linalg.norm(vectors @ phonon.primitive.cell, axis=1)[multiplicity[..., 1].T]
    blocks = abs(phonon.force_constants).max(axis=(2, 3))
    return float(blocks[apart > distance].max() / blocks[apart > 0.1].max())


def residuals(phonon: Phonopy) -> dict[str, float]:
    """Return the largest violation, in eV/A^2, of the acoustic sum rule and of permutation symmetry."""
    matrices = compact_fc_to_full_fc(phonon.primitive, phonon.force_constants)
    return {
        "sum_rule": float(abs(matrices.sum(axis=1)).max()),
        "permutation": float(abs(matrices - matrices.transpose(1, 0, 3, 2)).max()),
    }


def symmetrise(phonon: Phonopy) -> None:
    """Impose the sum rule, permutation symmetry and the space group on the force constants.

    Those of a repeated primitive cell have its space group already: phonopy makes the rows of its
    few atoms from displacements in all symmetry-equivalent directions.
    """
    phonon.symmetrize_force_constants(show_drift=False)
    if len(phonon.primitive) == len(phonon.supercell):
        phonon.symmetrize_force_constants_by_space_group(show_drift=False)


def save(
    phonon: Phonopy, folder: Path, *, corrected: bool = False, name: str = "phonopy_params.yaml.xz"
) -> Path:
    """Write cell, displacements and forces for `phonopy-load`.

    With `corrected` the force constants too: those that it would compute lack a correction. Where
    there are no forces to compute them from, they are always written.
    """
    kept = corrected or phonon.dataset is None
    path = folder / name
    with caching.whole_file(path) as temporary:
        # phonopy appends the compression's suffix to the name it is given.
        phonon.save(temporary.with_suffix(""), settings={"force_constants": kept}, compression="xz")
    return path
