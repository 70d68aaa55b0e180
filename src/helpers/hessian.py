"""Second derivatives of a MACE's energy, exact to rounding, atom by atom.

The features h of an atom after a layer are a function U of the features of its neighbours after the
layer before and of the vectors to them. By the chain rule the Hessian of the energy is a sum over
layers and atoms,

    H = sum D^T [second derivatives of (dE/dh) . U] D,    D = d(arguments of U) / d(positions).

The terms of an atom reach as many hops as there are layers: 55 atoms of WSe2 for two. So equivalent
atoms have equal terms but for a rotation, a term does not know how large the cell is, and nothing is
lost or cut where a neighbourhood wraps round it. The derivatives of U, which sees one atom and its
neighbours, come from automatic differentiation.
"""

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from scipy.sparse import csr_array

# MACE prints a line on import about an accelerator that is not installed.
with contextlib.redirect_stdout(io.StringIO()):
    from mace.data.neighborhood import get_neighborhood
    from mace.modules import ScaleShiftMACE
    from mace.modules.blocks import RealAgnosticInteractionBlock, RealAgnosticResidualInteractionBlock

Node = tuple[int, int, int, int]  # an atom of the cell, and the lattice vectors to the cell it lies in


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
        """The sum of the terms of all atoms of the cell."""
        pairs, blocks = [], []
        for term in terms:
            first, second = (each.ravel() for each in np.indices(term.matrix.shape[:2]))
            shifts = term.shifts[second] - term.shifts[first]
            pairs.append(np.column_stack([term.atoms[first], term.atoms[second], shifts]))
            blocks.append(term.matrix.reshape(-1, 9))
        every = np.concatenate(pairs)
        lowest = every.min(axis=0)
        codes = np.ravel_multi_index((every - lowest).T, np.ptp(every, axis=0) + 1)
        codes, kept, into = np.unique(codes, return_index=True, return_inverse=True)
        sums = csr_array((np.ones(len(into)), (into, np.arange(len(into))))) @ np.concatenate(blocks)
        distinct = every[kept]
        return cls(distinct[:, 0], distinct[:, 1], distinct[:, 2:], sums.reshape(-1, 3, 3))

    def dynamical_matrix(self, atoms: Atoms, q_point: np.ndarray) -> np.ndarray:
        """(3N, 3N) in eV/(A^2 u) at `q_point` in reciprocal lattice vectors, exact at each.

        With phonopy's phases: of the places of the atoms, not of their cells.
        """
        places = atoms.get_scaled_positions(wrap=False)
        apart = places[self.second] + self.shifts - places[self.first]
        roots = np.sqrt(atoms.get_masses())
        weights = np.exp(2j * np.pi * apart @ q_point) / (roots[self.first] * roots[self.second])
        matrix = np.zeros((len(atoms), len(atoms), 3, 3), dtype=complex)
        np.add.at(matrix, (self.first, self.second), weights[:, None, None] * self.blocks)
        return matrix.swapaxes(1, 2).reshape(3 * len(atoms), -1)


@dataclass(frozen=True)
class Derivatives:
    """Of an atom's features after a layer, by the positions of all atoms that they depend on."""

    nodes: list[Node]  # itself first
    first: torch.Tensor  # (3 len(nodes), n_features)
    hessian: torch.Tensor | None  # (3 len(nodes), 3 len(nodes)) the atom's terms up to this layer


@dataclass(frozen=True)
class Arrivals:
    """Derivatives of the messages that one atom receives."""

    sent: torch.Tensor  # (n_edges, n_sent) what the neighbours send
    by_vector: torch.Tensor  # (n_edges, 3, n_paths) of each message
    mixed: torch.Tensor  # (n_edges, 3, n_sent) of pull . message, by vector and by what is sent
    curvature: torch.Tensor  # (n_edges, 3, 3) of pull . message, by the vector twice


class Layers:
    """A network, evaluated layer by layer in a periodic cell, and the terms of its Hessian there.

    Raises ValueError for a network with interactions of another kind than these.
    """

    def __init__(self, network: torch.nn.Module, atoms: Atoms):
        if not isinstance(network, ScaleShiftMACE) or len(getattr(network, "heads", ["only"])) != 1:
            raise ValueError(
                f"the second derivatives of a {type(network).__name__} are known here only for a "
                'ScaleShiftMACE with one head: use method = "finite_differences"'
            )
        for interaction in network.interactions:
            if type(interaction) not in (RealAgnosticInteractionBlock, RealAgnosticResidualInteractionBlock):
                raise ValueError(
                    f"the second derivatives of a {type(interaction).__name__} are not known here: "
                    'use method = "finite_differences"'
                )
        self.network = network
        self.like = {"device": network.r_max.device, "dtype": network.r_max.dtype}
        (senders, receivers), offsets, shifts, _ = get_neighborhood(
            atoms.positions, float(network.r_max), (True, True, True), atoms.cell.array
        )
        order = np.argsort(receivers, kind="stable")
        senders, receivers = senders[order], receivers[order]
        self.first_edge = np.searchsorted(receivers, np.arange(len(atoms) + 1))
        # MACE shifts the receiver; here it is the sender that lies in another cell.
        self.sender_nodes = np.column_stack([senders, -shifts[order]]).astype(int).tolist()
        self.edges = torch.as_tensor(np.array([senders, receivers]), device=self.like["device"])
        elements = atoms.numbers[:, None] == network.atomic_numbers.cpu().numpy()
        self.attributes = torch.tensor(elements, **self.like)
        positions = torch.tensor(atoms.positions, **self.like, requires_grad=True)
        offsets = torch.tensor(offsets[order], **self.like)
        vectors = positions[self.edges[1]] - positions[self.edges[0]] + offsets

        features, received, energies = [network.node_embedding(self.attributes)], [], []
        for layer in range(len(network.interactions)):
            sent = network.interactions[layer].linear_up(features[-1])[self.edges[0]]
            messages = self.messages(layer, sent, vectors, self.edges)
            summed = torch.zeros(len(atoms), messages.shape[1], **self.like)
            summed = summed.index_add(0, self.edges[1], messages)
            received.append(self.received(layer, summed, self.attributes))
            features.append(self.updated(layer, received[-1], features[-1], self.attributes))
            energies.append(self.energies(layer, features[-1]).sum())
        interaction_energy = sum(energies)
        constant = (
            network.atomic_energies_fn(self.attributes).sum() + len(atoms) * network.scale_shift.shift.sum()
        )
        self.energy = (interaction_energy + constant).item()  # eV
        *pulls, gradient = torch.autograd.grad(interaction_energy, [*features[1:], positions])
        self.pulls = pulls  # [layer] (N, n_features) dE/dh
        self.forces = -gradient.cpu().numpy()  # (N, 3) eV/A
        self.vectors = vectors.detach()  # (n_edges, 3) A
        self.features = [each.detach() for each in features]  # before the first layer, after each
        self.arrived = [each.detach() for each in received]  # [layer] (N, n_channels, n_components)
        self.known: dict[tuple[int, int], Derivatives] = {}  # by layer and atom, without terms

    def edge_functions(
        self, layer: int, vectors: torch.Tensor, edges: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Spherical harmonics of `vectors` (n_edges, 3) and the weights of the paths at their lengths."""
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        radial, cutoff = self.network.radial_embedding(
            lengths, self.attributes, edges, self.network.atomic_numbers
        )
        weights = self.network.interactions[layer].conv_tp_weights(radial)
        return self.network.spherical_harmonics(vectors), weights if cutoff is None else weights * cutoff

    def messages(
        self, layer: int, sent: torch.Tensor, vectors: torch.Tensor, edges: torch.Tensor
    ) -> torch.Tensor:
        """(n_edges, n_paths), linear in what is `sent` (n_edges, n_sent)."""
        return self.network.interactions[layer].conv_tp(sent, *self.edge_functions(layer, vectors, edges))

    def received(self, layer: int, summed: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        """(n, n_channels, n_components), linear in the messages' sum (n, n_paths)."""
        interaction = self.network.interactions[layer]
        received = interaction.linear(summed) / interaction.avg_num_neighbors
        if isinstance(interaction, RealAgnosticInteractionBlock):
            received = interaction.skip_tp(received, attributes)
        return interaction.reshape(received)

    def skipped(self, layer: int, features: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor | float:
        """What an atom keeps of its own features, linear in them."""
        interaction = self.network.interactions[layer]
        residual = isinstance(interaction, RealAgnosticResidualInteractionBlock)
        return interaction.skip_tp(features, attributes) if residual else 0.0

    def updated(
        self, layer: int, received: torch.Tensor, features: torch.Tensor, attributes: torch.Tensor
    ) -> torch.Tensor:
        """(n, n_features) after the layer."""
        product = self.network.products[layer]
        contracted = product.symmetric_contractions(received, attributes)
        return product.linear(contracted) + self.skipped(layer, features, attributes)

    def energies(self, layer: int, features: torch.Tensor) -> torch.Tensor:
        """(n,) eV, what is read from the features after the layer."""
        readouts = self.network.readouts
        skipped = len(self.network.interactions) - len(readouts)  # layers that nothing is read from
        if layer < skipped:
            return features.new_zeros(len(features))
        heads = torch.zeros(len(features), dtype=torch.int64, device=features.device)
        return self.network.scale_shift.scale * readouts[layer - skipped](features, heads)[:, 0]

    def term(self, atom: int) -> Term:
        """All terms that come with `atom`, added up."""
        found = self.differentiated(len(self.network.interactions) - 1, atom, with_terms=True)
        nodes = np.array(found.nodes)
        matrix = found.hessian.view(len(nodes), 3, len(nodes), 3).transpose(1, 2)
        return Term(nodes[:, 0], nodes[:, 1:], matrix.cpu().numpy())

    def differentiated(self, layer: int, atom: int, *, with_terms: bool) -> Derivatives:
        """Derivatives of the atom's features after the layer, and its terms up to there."""
        if not with_terms and (layer, atom) in self.known:
            return self.known[layer, atom]
        own = slice(self.first_edge[atom], self.first_edge[atom + 1])
        before = self.differentiated(layer - 1, atom, with_terms=with_terms) if layer else None
        index = {node: i for i, node in enumerate(before.nodes if before else [(atom, 0, 0, 0)])}
        outer, places = [], []  # of each neighbour: its derivatives, and where their nodes stand here
        for sender, *shift in self.sender_nodes[own]:
            nodes = [(sender, 0, 0, 0)]
            if layer:
                outer.append(self.differentiated(layer - 1, sender, with_terms=False))
                nodes = outer[-1].nodes
            moved = ((a, x + shift[0], y + shift[1], z + shift[2]) for a, x, y, z in nodes)
            places.append([index.setdefault(node, len(index)) for node in moved])
        neighbours = torch.tensor([each[0] for each in places], device=self.like["device"])
        size = 3 * len(index)

        arrivals = self.arrivals(layer, atom)
        n_paths = arrivals.by_vector.shape[2]
        direct = torch.zeros(len(index), 3, n_paths, **self.like)
        direct[0] = arrivals.by_vector.sum(dim=0)
        direct.index_add_(0, neighbours, -arrivals.by_vector)
        summed = direct.view(size, n_paths)
        if layer:
            # The neighbours' features move too; each derivative is sent on like the features themselves.
            interaction = self.network.interactions[layer]
            sent = interaction.linear_up(torch.cat([each.first for each in outer]))
            counts = torch.tensor([len(each.first) for each in outer], device=self.like["device"])
            harmonics, weights = self.edge_functions(layer, self.vectors[own], self.edges[:, own])
            repeated = [each.repeat_interleave(counts, dim=0) for each in (harmonics, weights)]
            flat = torch.tensor([3 * i + axis for each in places for i in each for axis in range(3)])
            flat = flat.to(self.like["device"])
            summed.index_add_(0, flat, interaction.conv_tp(sent, *repeated))
        attributes = self.attributes[atom : atom + 1].expand(size, -1)
        received = self.received(layer, summed, attributes)
        slopes, curvatures = self.contracted(layer, atom, with_curvatures=with_terms)
        first = self.network.products[layer].linear(
            torch.cat([torch.einsum("dkm,mkc->dkc", received, each).flatten(1) for each in slopes], dim=1)
        )
        if before:
            kept = torch.zeros(size, before.first.shape[1], **self.like)
            kept[: len(before.first)] = before.first
            first = first + self.skipped(layer, kept, attributes)
        if not with_terms:
            return self.known.setdefault((layer, atom), Derivatives(list(index), first, None))

        hessian = received.flatten(1) @ torch.einsum("dkm,mkn->dkn", received, curvatures).flatten(1).T
        hessian += first @ self.bent(layer, atom, first).T
        if before:
            hessian[: len(before.first), : len(before.first)] += before.hessian
        blocks = hessian.view(len(index), 3, len(index), 3)
        for edge, neighbour in enumerate(neighbours.tolist()):
            # The vector is the atom's position less its neighbour's.
            for one, sign in ((0, 1), (neighbour, -1)):
                blocks[one, :, 0] += sign * arrivals.curvature[edge]
                blocks[one, :, neighbour] -= sign * arrivals.curvature[edge]
        if layer:
            crossed = torch.repeat_interleave(arrivals.mixed, counts, dim=0) @ sent[:, :, None]
            mixed = torch.zeros(len(index), 3, size, **self.like)
            starts = counts.cumsum(0) - counts
            for edge, neighbour in enumerate(neighbours.tolist()):
                part = slice(int(starts[edge]), int(starts[edge] + counts[edge]))
                along = crossed[part, :, 0].T
                mixed[0, :, flat[part]] += along
                mixed[neighbour, :, flat[part]] -= along
            mixed = mixed.view(size, size)
            hessian += mixed + mixed.T
        return Derivatives(list(index), first, hessian)

    def arrivals(self, layer: int, atom: int) -> Arrivals:
        """Derivatives of the messages to `atom`, from three passes back through a pass back."""
        own = slice(self.first_edge[atom], self.first_edge[atom + 1])
        pull = self.pull_on_messages(layer, atom).expand(own.stop - own.start, -1).clone()
        sent = self.network.interactions[layer].linear_up(self.features[layer][self.edges[0, own]])
        vectors = self.vectors[own].clone()
        for each in (leaves := (pull, sent, vectors)):
            each.requires_grad_(True)
        messages = self.messages(layer, sent, vectors, self.edges[:, own])
        (along,) = torch.autograd.grad((messages * pull).sum(), vectors, create_graph=True)
        # Edges do not know of each other: one pass for all of them.
        passes = [torch.autograd.grad(each.sum(), leaves, retain_graph=True) for each in along.unbind(1)]
        by_vector, mixed, curvature = (torch.stack(each, dim=1) for each in zip(*passes, strict=True))
        return Arrivals(sent.detach(), by_vector, mixed, curvature)

    def pull_on_messages(self, layer: int, atom: int) -> torch.Tensor:
        """(1, n_paths) derivative of the energy by the sum of the messages to `atom`."""
        attributes = self.attributes[atom : atom + 1]
        arrived = self.arrived[layer][atom : atom + 1].clone().requires_grad_(True)
        new = self.updated(layer, arrived, self.features[layer][atom : atom + 1], attributes)
        (pull,) = torch.autograd.grad(new, arrived, self.pulls[layer][atom : atom + 1])
        n_paths = self.network.interactions[layer].conv_tp.irreps_out.dim
        summed = torch.zeros(1, n_paths, **self.like, requires_grad=True)
        return torch.autograd.grad(self.received(layer, summed, attributes), summed, pull)[0]

    def contracted(
        self, layer: int, atom: int, *, with_curvatures: bool
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Derivatives of the products of what arrived at `atom`: first, and second pulled by dE/dh.

        A channel's products are of that channel alone, so that one copy of the atom for each of
        the `n` components shows all: [irrep] (n, n_channels, dimension) and (n, n_channels, n).
        """
        product = self.network.products[layer]
        zero = torch.zeros(1, product.linear.irreps_in.dim, **self.like, requires_grad=True)
        (pull,) = torch.autograd.grad(product.linear(zero), zero, self.pulls[layer][atom : atom + 1])
        arrived = self.arrived[layer][atom]
        n = arrived.shape[1]
        copies = arrived.expand(n, -1, -1).clone().requires_grad_(True)
        pulls = pull.expand(n, -1).clone().requires_grad_(True)
        contracted = product.symmetric_contractions(copies, self.attributes[atom : atom + 1].expand(n, -1))
        (slope,) = torch.autograd.grad(contracted, copies, pulls, create_graph=True)
        total = torch.einsum("mkm->", slope)
        if with_curvatures:
            first, curvatures = torch.autograd.grad(total, (pulls, copies))
        else:
            (first,), curvatures = torch.autograd.grad(total, pulls), None
        irreps = product.linear.irreps_in
        parts = zip(irreps, first.split([each.dim for each in irreps], dim=1), strict=True)
        return [part.view(n, each.mul, each.ir.dim) for each, part in parts], curvatures

    def bent(self, layer: int, atom: int, first: torch.Tensor) -> torch.Tensor:
        """`first` (n, n_features) times the second derivatives of the energy that is read after the layer."""
        copies = self.features[layer + 1][atom].expand(len(first), -1).clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(
            self.energies(layer, copies).sum(),
            copies,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        if not slope.requires_grad:  # read linearly, or not at all
            return torch.zeros_like(first)
        return torch.autograd.grad((slope * first).sum(), copies)[0]
