"""Sum rules and invariance under rotations of force constants: how far they are violated, and what restores them."""

import numpy as np
from phonopy import Phonopy
from scipy.sparse import coo_array, csr_array, diags_array, vstack
from scipy.sparse.linalg import lsqr

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def invariance_equations(phonon: Phonopy) -> tuple[csr_array, csr_array]:
    """Return the linear equations that force constants (n_primitive, N, 3, 3), flattened, must obey.

    The first matrix holds the acoustic sum rule and the permutation symmetry. The second holds
    the Born-Huang conditions (a rigid rotation gives no force) and the Huang conditions (for a
    cell without stress; under stress their right-hand side is not zero): M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter V. Vectors
    between atoms are averages over the equally short images.
    """
    primitive = phonon.primitive
    n_primitive, n_atoms = len(primitive), len(phonon.supercell)
    vectors, multiplicity = primitive.get_smallest_vectors()
    vectors = vectors @ primitive.cell
    first = np.zeros((n_primitive, n_atoms, 3))
    second = np.zeros((n_primitive, n_atoms, 3, 3))
    for i in range(n_primitive):
        for j in range(n_atoms):
            count, start = multiplicity[j, i]
            images = vectors[start : start + count]
            first[i, j] = images.mean(axis=0)
            second[i, j] = (images[:, :, None] * images[:, None, :]).mean(axis=0)

    def index(i, j, a, b):
        return ((i * n_atoms + j) * 3 + a) * 3 + b

    every = np.arange(n_atoms)
    equations: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    for i in range(n_primitive):
        for a in range(3):
            for b in range(3):
                equations[0].append((index(i, every, a, b), np.ones(n_atoms)))
                for c in range(b):
                    columns = np.concatenate([index(i, every, a, b), index(i, every, a, c)])
                    equations[1].append((columns, np.concatenate([first[i, :, c], -first[i, :, b]])))
    # Permutation: translate (i, j) so that j comes to lie in the primitive cell.
    row_of = {int(atom): row for row, atom in enumerate(primitive.p2s_map)}
    translations = primitive.atomic_permutations
    for i in range(n_primitive):
        for j in range(n_atoms):
            target = primitive.s2p_map[j]
            permutation = translations[np.flatnonzero(translations[:, j] == target)[0]]
            partner = permutation[primitive.p2s_map[i]]
            for a in range(3):
                for b in range(3):
                    pair = (index(i, j, a, b), index(row_of[int(target)], partner, b, a))
                    if pair[0] < pair[1]:
                        equations[0].append((np.array(pair), np.array([1.0, -1.0])))
    cells = [(i, j) for i in range(n_primitive) for j in range(n_atoms)]
    rows, columns = np.array(cells).T
    for p, (a, b) in enumerate(VOIGT):
        for c, d in VOIGT[:p]:
            coefficients = [second[rows, columns, c, d], -second[rows, columns, a, b]]
            where = [index(rows, columns, a, b), index(rows, columns, c, d)]
            equations[1].append((np.concatenate(where), np.concatenate(coefficients)))
    size = n_primitive * n_atoms * 9
    return _sparse(equations[0], size), _sparse(equations[1], size)


def _sparse(equations: list[tuple[np.ndarray, np.ndarray]], size: int) -> csr_array:
    rows = np.repeat(np.arange(len(equations)), [len(columns) for columns, _ in equations])
    columns = np.concatenate([columns for columns, _ in equations])
    values = np.concatenate([values for _, values in equations])
    return coo_array((values, (rows, columns)), shape=(len(equations), size)).tocsr()


def rotational_residual(phonon: Phonopy) -> float:
    """Return the largest violation of the Born-Huang conditions, in eV/A, of a primitive-cell phonopy object."""
    _, rotational = invariance_equations(phonon)
    born_huang = rotational[: 9 * len(phonon.primitive)]
    return float(abs(born_huang @ phonon.force_constants.ravel()).max())


def make_rotationally_invariant(phonon: Phonopy, stress: np.ndarray) -> None:
    """Make the smallest change (least squares) of the force constants after which they obey all invariances.

    `stress` (6,) in eV/A^3 (Voigt) is what the cell is under. The solution of least norm is
    unique, so it has the space group of the force constants it is given.
    """
    symmetric, rotational = invariance_equations(phonon)
    delta = np.eye(3)[tuple(np.transpose(VOIGT))]
    # -1 / (2 V) (sum Phi_ab r_c r_d - sum Phi_cd r_a r_b) = stress_cd delta_ab - stress_ab delta_cd
    huang = [
        -2 * phonon.primitive.volume * (stress[q] * delta[p] - stress[p] * delta[q])
        for p in range(6)
        for q in range(p)
    ]
    equations = vstack([symmetric, rotational], format="csr")
    right = np.zeros(equations.shape[0])
    right[-len(huang) :] = huang
    norms = np.sqrt(equations.power(2).sum(axis=1))
    scale = diags_array(1 / np.where(norms > 0, norms, 1.0))
    matrices = phonon.force_constants
    wanted = scale @ (right - equations @ matrices.ravel())
    change, stopped, *_ = lsqr((scale @ equations).tocsr(), wanted, atol=1e-15, btol=1e-15, iter_lim=20000)
    if stopped == 7:  # at iter_lim
        raise RuntimeError("the rotational correction did not converge: look at the force constants")
    phonon.force_constants = matrices + change.reshape(matrices.shape)
