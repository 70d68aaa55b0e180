"""Rows of a MACE's Hessian by automatic differentiation, on the part of the sheet that a row sees."""

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from mace.data.neighborhood import get_neighborhood


@dataclass(frozen=True)
class Neighbourhood:
    """What the force on one atom depends on, unwrapped: each periodic image is an atom of its own."""

    atoms: np.ndarray  # (M,) atom of the cell; the first is the one in the middle
    shifts: np.ndarray  # (M, 3) lattice vectors to the cell it lies in
    edges: np.ndarray  # (2, n_edges) sender, receiver, by receiver
    nodes_within: list[int]  # [h] number of atoms within h hops; these come first
    edges_into: list[int]  # [h] number of edges into them


@dataclass(frozen=True)
class Graph:
    """Neighbours closer than the model's cutoff of every atom of a periodic cell."""

    positions: np.ndarray  # (N, 3) A
    cell: np.ndarray  # (3, 3) A
    numbers: np.ndarray  # (N,)
    senders: np.ndarray  # (n_edges,) sorted by receiver
    shifts: np.ndarray  # (n_edges, 3) the sender lies in the receiver's cell + these lattice vectors
    first: np.ndarray  # (N + 1,) where the edges into each atom begin

    @classmethod
    def of(cls, atoms: Atoms, r_max: float) -> "Graph":
        (senders, receivers), _, shifts, _ = get_neighborhood(
            atoms.positions, r_max, (True, True, True), atoms.cell.array
        )
        order = np.argsort(receivers, kind="stable")
        first = np.searchsorted(receivers[order], np.arange(len(atoms) + 1))
        return cls(
            atoms.positions,
            atoms.cell.array,
            atoms.numbers,
            senders[order],
            -shifts[order].astype(int),
            first,
        )

    def around(self, atom: int, hops: int) -> Neighbourhood:
        """All within `hops` hops of `atom`, and the edges into all within one hop less."""
        index = {(atom, 0, 0, 0): 0}
        nodes = [(atom, 0, 0, 0)]
        senders, receivers = [], []
        nodes_within, edges_into = [1], []
        for hop in range(hops):
            for receiver in range(nodes_within[hop - 1] if hop else 0, nodes_within[hop]):
                centre, *home = nodes[receiver]
                for edge in range(self.first[centre], self.first[centre + 1]):
                    shift = self.shifts[edge]
                    node = (int(self.senders[edge]), *(int(a + b) for a, b in zip(home, shift, strict=True)))
                    if node not in index:
                        index[node] = len(nodes)
                        nodes.append(node)
                    senders.append(index[node])
                    receivers.append(receiver)
            nodes_within.append(len(nodes))
            edges_into.append(len(senders))
        found = np.array(nodes)
        return Neighbourhood(
            found[:, 0], found[:, 1:], np.array([senders, receivers]), nodes_within, edges_into
        )


def energy(
    network: torch.nn.Module, near: Neighbourhood, attributes: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Energy in eV of the atoms that the middle one has a part in, but for their constant E0.

    These are those within as many hops as the model has interactions. Each layer is computed only
    for the atoms that the next one needs: from its blocks' own distinction of an atom that receives
    messages from a ghost that only sends them. `attributes` (M, n_elements), `positions` (M, 3) in A.
    """
    layers = len(network.interactions)
    edges = torch.as_tensor(near.edges, device=positions.device)
    vectors = positions[edges[1]] - positions[edges[0]]
    lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
    harmonics = network.spherical_harmonics(vectors)
    radial, cutoff = network.radial_embedding(lengths, attributes, edges, network.atomic_numbers)
    features, all_features = network.node_embedding(attributes), []
    for layer, (interaction, product) in enumerate(zip(network.interactions, network.products, strict=True)):
        hops = 2 * layers - 1 - layer
        senders, receivers, n_edges = (
            near.nodes_within[hops + 1],
            near.nodes_within[hops],
            near.edges_into[hops],
        )
        features, skip = interaction(
            node_attrs=attributes[:senders],
            node_feats=features,
            edge_attrs=harmonics[:n_edges],
            edge_feats=radial[:n_edges],
            edge_index=edges[:, :n_edges],
            cutoff=None if cutoff is None else cutoff[:n_edges],
            first_layer=True,
            lammps_class=True,
            lammps_natoms=(receivers, senders - receivers),
        )
        features = product(node_feats=features, sc=skip, node_attrs=attributes[:receivers])
        all_features.append(features)
    n_atoms, n_edges = near.nodes_within[layers], near.edges_into[layers]
    heads = torch.zeros(n_atoms, dtype=torch.int64, device=positions.device)
    read = all_features[-1:] if len(network.readouts) == 1 else all_features
    energies = sum(
        readout(features[:n_atoms], heads)[:, 0]
        for readout, features in zip(network.readouts, read, strict=True)
    )
    if hasattr(network, "pair_repulsion"):
        energies = (
            energies
            + network.pair_repulsion_fn(
                lengths[:n_edges], attributes, edges[:, :n_edges], network.atomic_numbers
            )[:n_atoms]
        )
    if hasattr(network, "scale_shift"):
        energies = network.scale_shift(energies, heads)
    return energies.sum()


@dataclass(frozen=True)
class Hessian:
    """Force constants of a periodic cell, each with the cell shift of its second atom."""

    first: np.ndarray  # (n_pairs,) atom i, in the cell itself
    second: np.ndarray  # (n_pairs,) atom j
    shifts: np.ndarray  # (n_pairs, 3) lattice vectors to the cell that j lies in
    blocks: np.ndarray  # (n_pairs, 3, 3) eV/A^2

    def dynamical_matrix(self, atoms: Atoms, q_point: np.ndarray) -> np.ndarray:
        """(3N, 3N) in eV/(A^2 u) at `q_point` in reciprocal lattice vectors; exact at each.

        With phonopy's phases: those of the atoms' places, not of their cells.
        """
        places = atoms.get_scaled_positions(wrap=False)
        apart = places[self.second] + self.shifts - places[self.first]
        roots = np.sqrt(atoms.get_masses())
        weights = np.exp(2j * np.pi * apart @ q_point) / (roots[self.first] * roots[self.second])
        matrix = np.zeros((len(atoms), len(atoms), 3, 3), dtype=complex)
        np.add.at(matrix, (self.first, self.second), weights[:, None, None] * self.blocks)
        return matrix.swapaxes(1, 2).reshape(3 * len(atoms), -1)


def derivative(
    network: torch.nn.Module, graph: Graph, atom: int
) -> tuple[Neighbourhood, torch.Tensor, torch.Tensor]:
    """What `atom` sees, the positions of all of it, and the derivative (3,) of the energy by its own."""
    near = graph.around(atom, 2 * len(network.interactions))
    device, dtype = network.r_max.device, network.r_max.dtype
    elements = graph.numbers[near.atoms][:, None] == network.atomic_numbers.cpu().numpy()
    attributes = torch.tensor(elements, device=device, dtype=dtype)
    places = graph.positions[near.atoms] + near.shifts @ graph.cell
    positions = torch.tensor(places, device=device, dtype=dtype, requires_grad=True)
    found = energy(network, near, attributes, positions)
    (gradient,) = torch.autograd.grad(found, positions, create_graph=True)
    return near, positions, gradient[0]


def force(network: torch.nn.Module, graph: Graph, atom: int) -> np.ndarray:
    """(3,) eV/A, from the network trimmed to what `atom` sees."""
    return -derivative(network, graph, atom)[2].detach().cpu().numpy()


def row(network: torch.nn.Module, graph: Graph, atom: int) -> Hessian:
    """The force constants between `atom` and all that it sees."""
    near, positions, gradient = derivative(network, graph, atom)
    blocks = [torch.autograd.grad(each, positions, retain_graph=True)[0] for each in gradient]
    return Hessian(
        np.full(len(near.atoms), atom), near.atoms, near.shifts, torch.stack(blocks, dim=1).cpu().numpy()
    )
