"""Force constants from displaced cells by central differences, resumable."""

import hashlib
from pathlib import Path

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.atoms import PhonopyAtoms
from tqdm import tqdm

from helpers import records
from helpers.potential import Potential, evaluate


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """The same cell for phonopy, with ASE's masses: phonopy's own are older (Se 78.96 u, not 78.971)."""
    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        positions=atoms.positions,
        masses=atoms.get_masses(),
    )


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """The same cell for ASE, periodic in all directions."""
    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def displaced(atoms: Atoms, n: int, displacement: float) -> Phonopy:
    """Phonopy object of the n x n x 1 supercell of `atoms` with its symmetry-inequivalent displacements.

    Always along +u and -u, `displacement` in A: one-sided steps leave the cubic term, 2 cm-1 in WSe2.
    """
    phonon = Phonopy(
        to_phonopy(atoms), supercell_matrix=np.diag([n, n, 1]), primitive_matrix="P", symprec=1e-4
    )
    phonon.generate_displacements(distance=displacement, is_plusminus=True)
    return phonon


def by_differences(
    atoms: Atoms, n: int, potential: Potential, *, displacement: float, folder: Path
) -> Phonopy:
    """Phonopy object with the force constants (eV/A^2) of the n x n x 1 supercell of `atoms`.

    Their shape is (len(atoms), N, 3, 3): rows for one cell, columns for the N atoms of all.
    `atoms` is relaxed; `displacement` in A. The forces of each displaced cell are kept in
    `folder`/forces as they come, in a folder for each geometry and model, so that an interrupted
    run goes on where it stopped.
    """
    phonon = displaced(atoms, n, displacement)
    phonon.forces = displaced_forces(phonon, potential, folder / "forces")
    phonon.produce_force_constants(
        fc_calculator="traditional", calculate_full_force_constants=False, show_drift=False
    )
    return phonon


def displaced_forces(phonon: Phonopy, potential: Potential, folder: Path) -> np.ndarray:
    """(n_displacements, N, 3) forces in eV/A of the displaced cells, from `folder` where they are."""
    cells = phonon.supercells_with_displacements
    key = hashlib.sha256(potential.checksum.encode())
    for cell in cells:
        # Positions rounded: the same relaxation may differ in the last digits from run to run.
        key.update((cell.positions.round(6) + 0.0).tobytes() + cell.cell.round(6).tobytes())
    own = folder / key.hexdigest()[:16]
    forces = []
    for i, cell in enumerate(tqdm(cells, desc="displacements", unit="cell", disable=len(cells) < 10)):
        path = own / f"{i:04d}.npy"
        if not path.exists():
            with records.whole_file(path) as temporary:
                np.save(temporary, evaluate(potential, to_ase(cell))["forces"])
        forces.append(np.load(path))
    return np.array(forces)


def residuals(phonon: Phonopy) -> dict[str, float]:
    """Largest violation, in eV/A^2, of the acoustic sum rule and of permutation symmetry."""
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


def save(phonon: Phonopy, folder: Path, *, corrected: bool = False) -> Path:
    """Write cell, displacements and forces as phonopy_params.yaml.xz for `phonopy-load`.

    With `corrected` the force constants too: those that it would compute lack a correction.
    """
    path = folder / "phonopy_params.yaml.xz"
    with records.whole_file(path) as temporary:
        # phonopy appends the compression's suffix to the name it is given.
        phonon.save(temporary.with_suffix(""), settings={"force_constants": corrected}, compression="xz")
    return path
