"""Force constants as sums of terms of single atoms (defectphonons.hessian.layers), and the dynamical matrix that follows from them."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.sparse import bsr_array, csr_array


@dataclass(frozen=True)
class Term:
    """The part of the Hessian that comes with one atom: symmetric, and its rows add up to zero."""

    atoms: np.ndarray  # (M,) of the cell; the first is the one it comes with
    shifts: np.ndarray  # (M, 3) lattice vectors to the cell that each lies in
    matrix: np.ndarray  # (M, M, 3, 3) eV/A^2


@dataclass(frozen=True)
class Hessian:
    """Force constants between the atoms of a cell and all that they act on, in whatever cell."""

    first: np.ndarray  # (n_pairs,) atom of the cell
    second: np.ndarray  # (n_pairs,) the other atom
    shifts: np.ndarray  # (n_pairs, 3) lattice vectors to the cell that the other lies in
    blocks: np.ndarray  # (n_pairs, 3, 3) eV/A^2

    @classmethod
    def of(cls, terms: Iterable[Term]) -> "Hessian":
        """Add up the terms of all atoms of the cell."""
        summed, coming = np.empty((0, 14)), iter(terms)
        while some := list(itertools.islice(coming, 100)):  # not all at once: most are added up
            parts = [summed]
            for term in some:
                first, second = (indices.ravel() for indices in np.indices(term.matrix.shape[:2]))
                pairs = [term.atoms[first], term.atoms[second], term.shifts[second] - term.shifts[first]]
                parts.append(np.column_stack([*pairs, term.matrix.reshape(-1, 9)]))
            every = np.concatenate(parts)
            numbers = every[:, :5].astype(int)
            lowest = numbers.min(axis=0)
            codes = np.ravel_multi_index((numbers - lowest).T, np.ptp(numbers, axis=0) + 1)
            _, kept, into = np.unique(codes, return_index=True, return_inverse=True)
            sums = csr_array((np.ones(len(into)), (into, np.arange(len(into))))) @ every[:, 5:]
            summed = np.column_stack([numbers[kept], sums])
        numbers = summed[:, :5].astype(int)
        return cls(numbers[:, 0], numbers[:, 1], numbers[:, 2:], summed[:, 5:].reshape(-1, 3, 3))

    def dynamical_matrix(self, atoms: Atoms, q_point: np.ndarray) -> bsr_array:
        """Return the dynamical matrix (3N, 3N) in 3 x 3 blocks, eV/(A^2 u), at `q_point` in reciprocal lattice vectors.

        Exact at each, and real at Gamma. With phonopy's phases: of the places of the atoms, not of
        their cells.
        """
        places = atoms.get_scaled_positions(wrap=False)
        apart = places[self.second] + self.shifts - places[self.first]
        roots = np.sqrt(atoms.get_masses())
        phases = np.exp(2j * np.pi * apart @ q_point) if np.any(q_point) else np.ones(len(apart))
        weights = phases / (roots[self.first] * roots[self.second])
        codes, into = np.unique(self.first * len(atoms) + self.second, return_inverse=True)
        adding = csr_array((weights, (into, np.arange(len(into)))))
        blocks = (adding @ self.blocks.reshape(-1, 9)).reshape(-1, 3, 3)
        starts = np.searchsorted(codes, len(atoms) * np.arange(len(atoms) + 1))
        return bsr_array((blocks, codes % len(atoms), starts), shape=(3 * len(atoms), 3 * len(atoms)))
