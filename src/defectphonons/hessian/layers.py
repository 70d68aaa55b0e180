"""Second derivatives of a MACE's energy, exact to rounding, atom by atom.

The features h of an atom after a layer are a function U of the features of its neighbours after the
layer before and of the vectors to them. By the chain rule the Hessian of the energy is a sum over
layers and atoms,

    H = sum D^T [second derivatives of (dE/dh) . U] D,    D = d(arguments of U) / d(positions).

The terms of an atom reach as many hops as there are layers: some fifty atoms of a transition-metal dichalcogenide for two. So equivalent
atoms have equal terms but for a rotation, a term does not know how large the cell is, and nothing is
lost or cut where a neighbourhood wraps round it. The derivatives of U, which sees one atom and its
neighbours, come from automatic differentiation.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from defectphonons.hessian.terms import Term

# MACE prints a line on import about an accelerator that is not installed.
with contextlib.redirect_stdout(io.StringIO()):
    from mace.data.neighborhood import get_neighborhood
    from mace.modules import MACE, ScaleShiftMACE
    from mace.modules.blocks import (
        RealAgnosticDensityInteractionBlock,
        RealAgnosticDensityResidualInteractionBlock,
        RealAgnosticInteractionBlock,
        RealAgnosticResidualInteractionBlock,
    )

# Blocks whose messages are divided by a density of neighbours, and blocks that keep an atom's own features.
BY_DENSITY = (RealAgnosticDensityInteractionBlock, RealAgnosticDensityResidualInteractionBlock)
RESIDUAL = (RealAgnosticResidualInteractionBlock, RealAgnosticDensityResidualInteractionBlock)
BLOCKS = (RealAgnosticInteractionBlock, RealAgnosticDensityInteractionBlock, *RESIDUAL)

Node = tuple[int, int, int, int]  # an atom of the cell, and the lattice vectors to the cell it lies in


@dataclass(frozen=True)
class Derivatives:
    """Of the features of some atoms after a layer, by the positions of all atoms that they depend on."""

    nodes: list[list[Node]]  # [atom] what it depends on, itself first
    first: torch.Tensor  # (n, 3 n_nodes, n_features), zero beyond an atom's own nodes
    hessian: torch.Tensor | None  # (n, 3 n_nodes, 3 n_nodes) the atoms' terms up to this layer


@dataclass(frozen=True)
class Incoming:
    """Edges to some atoms, and the positions that what is sent along them depends on."""

    nodes: list[list[Node]]  # [atom] what it depends on after the layer, itself first
    edges: torch.Tensor  # (n_edges,) places among those of the cell
    receiver: torch.Tensor  # (n_edges,) which of the atoms
    neighbour: torch.Tensor  # (n_edges,) place of the sender among the receiver's nodes
    counts: torch.Tensor  # (n_edges,) coordinates of the nodes that the sender depends on
    columns: torch.Tensor  # (sum of counts,) their places among those of the receiver's nodes
    sent: torch.Tensor | None  # (sum of counts, n_sent) what is sent by them; None before the first layer

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of atoms, and of nodes of the one with the most."""
        return len(self.nodes), max(len(nodes) for nodes in self.nodes)


@dataclass(frozen=True)
class Arrivals:
    """Derivatives of the messages along some edges."""

    by_vector: torch.Tensor  # (n_edges, 3, n_paths) of each message
    mixed: torch.Tensor  # (n_edges, 3, n_sent) of pull . message, by vector and by what is sent
    curvature: torch.Tensor  # (n_edges, 3, 3) of pull . message, by the vector twice


def unknown_part(network: torch.nn.Module) -> str | None:
    """Return the part of a network whose second derivatives this module does not have; None if there is no such part."""
    if type(network) not in (MACE, ScaleShiftMACE):
        return f"a {type(network).__name__}"
    for interaction in network.interactions:
        if type(interaction) not in BLOCKS:
            return f"a {type(interaction).__name__}"
    if hasattr(network, "joint_embedding"):
        return "an embedding of charge, spin or other quantities of a frame"
    for product in network.products:
        if getattr(product, "use_agnostic_product", False):
            return "products that do not know the elements"
        if getattr(product, "cueq_config", None) is not None:
            return "a model for cuEquivariance (mace_cueq_to_e3nn converts it)"
    return None


class Layers:
    """A network, evaluated layer by layer in a periodic cell, and the terms of its Hessian there.

    `head` is the place of the head whose energy it is. Raises ValueError for a network with other parts than these.
    """

    def __init__(self, network: torch.nn.Module, atoms: Atoms, head: int = 0):
        if part := unknown_part(network):
            raise ValueError(
                f'the second derivatives of {part} are not known here: use method = "finite_differences"'
            )
        self.network, self.head = network, head
        scaled = isinstance(network, ScaleShiftMACE)
        self.scale, shift = (
            (
                torch.atleast_1d(value)[head]
                for value in (network.scale_shift.scale, network.scale_shift.shift)
            )
            if scaled
            else (1.0, 0.0)
        )
        self.like = {"device": network.r_max.device, "dtype": network.r_max.dtype}
        (senders, receivers), offsets, shifts, _ = get_neighborhood(
            atoms.positions, float(network.r_max), (True, True, True), atoms.cell.array
        )
        order = np.argsort(receivers, kind="stable")
        senders, receivers = senders[order], receivers[order]
        self.first_edge = np.searchsorted(receivers, np.arange(len(atoms) + 1))
        self.senders = senders
        # MACE shifts the receiver; here it is the sender that lies in another cell.
        self.shifts = -shifts[order].astype(int)
        self.edges = torch.as_tensor(np.array([senders, receivers]), device=self.like["device"])
        elements = atoms.numbers[:, None] == network.atomic_numbers.cpu().numpy()
        self.attributes = torch.tensor(elements, **self.like)
        positions = torch.tensor(atoms.positions, **self.like, requires_grad=True)
        offsets = torch.tensor(offsets[order], **self.like)
        vectors = positions[self.edges[1]] - positions[self.edges[0]] + offsets

        features, received, energies = [network.node_embedding(self.attributes)], [], []
        self.summed = []  # [layer] (N, n_paths) messages, and their density where it divides them
        for layer in range(len(network.interactions)):
            sent = network.interactions[layer].linear_up(features[-1])[self.edges[0]]
            messages = self.messages(layer, sent, vectors, self.edges)
            summed = torch.zeros(len(atoms), messages.shape[1], **self.like)
            summed = summed.index_add(0, self.edges[1], messages)
            self.summed.append(summed.detach())
            received.append(self.received(layer, summed, self.attributes))
            features.append(self.updated(layer, received[-1], features[-1], self.attributes))
            energies.append(self.energies(layer, features[-1]).sum())
        interaction_energy = sum(energies) + self.repulsion(vectors, self.edges)
        constant = network.atomic_energies_fn(self.attributes)[:, head].sum() + len(atoms) * shift
        self.energy = (interaction_energy + constant).item()  # eV
        *pulls, gradient = torch.autograd.grad(interaction_energy, [*features[1:], positions])
        self.pulls = pulls  # [layer] (N, n_features) dE/dh
        self.forces = -gradient.cpu().numpy()  # (N, 3) eV/A
        self.vectors = vectors.detach()  # (n_edges, 3) A
        self.features = [values.detach() for values in features]  # before the first layer, after each
        self.arrived = [values.detach() for values in received]  # [layer] (N, n_channels, n_components)
        # By layer and atom: nodes, and derivatives of the features (3 len(nodes), n_features).
        self.known: dict[tuple[int, int], tuple[list[Node], torch.Tensor]] = {}

    def repulsion(self, vectors: torch.Tensor, edges: torch.Tensor) -> torch.Tensor | float:
        """Return the energy in eV, summed over edges, of the repulsion of pairs that some models add."""
        if not hasattr(self.network, "pair_repulsion"):
            return 0.0
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        numbers = self.network.atomic_numbers
        return self.scale * self.network.pair_repulsion_fn(lengths, self.attributes, edges, numbers).sum()

    def edge_functions(
        self, layer: int, vectors: torch.Tensor, edges: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return spherical harmonics of `vectors` (n_edges, 3), and of their lengths the weights of the paths and the density.

        The density has no column where none divides the messages.
        """
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        radial, cutoff = self.network.radial_embedding(
            lengths, self.attributes, edges, self.network.atomic_numbers
        )
        interaction = self.network.interactions[layer]
        weights, density = interaction.conv_tp_weights(radial), radial[:, :0]
        if isinstance(interaction, BY_DENSITY):
            density = torch.tanh(interaction.density_fn(radial) ** 2)
        if cutoff is not None:
            weights, density = weights * cutoff, density * cutoff
        return self.network.spherical_harmonics(vectors), weights, density

    def messages(
        self, layer: int, sent: torch.Tensor, vectors: torch.Tensor, edges: torch.Tensor
    ) -> torch.Tensor:
        """Return the messages (n_edges, n_paths), linear in what is `sent` (n_edges, n_sent); the density in a last column."""
        harmonics, weights, density = self.edge_functions(layer, vectors, edges)
        return torch.cat([self.network.interactions[layer].conv_tp(sent, harmonics, weights), density], dim=1)

    def parted(self, layer: int, summed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Return the sum of the messages without their density, and what it is divided by."""
        interaction = self.network.interactions[layer]
        if isinstance(interaction, BY_DENSITY):
            return summed[:, :-1], summed[:, -1:] + 1
        return summed, interaction.avg_num_neighbors

    def received(self, layer: int, summed: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        """Return what arrives of the messages' sum (n, n_paths): (n, n_channels, n_components)."""
        return self.spread(layer, *self.parted(layer, summed), attributes)

    def spread(
        self, layer: int, messages: torch.Tensor, divisor: torch.Tensor | float, attributes: torch.Tensor
    ) -> torch.Tensor:
        """Return what arrives of `messages` without a density, linear in them."""
        interaction = self.network.interactions[layer]
        received = interaction.linear(messages) / divisor
        if not isinstance(interaction, RESIDUAL):
            received = interaction.skip_tp(received, attributes)
        return interaction.reshape(received)

    def skipped(self, layer: int, features: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor | float:
        """Return what an atom keeps of its own features, linear in them."""
        interaction = self.network.interactions[layer]
        return interaction.skip_tp(features, attributes) if isinstance(interaction, RESIDUAL) else 0.0

    def updated(
        self, layer: int, received: torch.Tensor, features: torch.Tensor, attributes: torch.Tensor
    ) -> torch.Tensor:
        """Return the features (n, n_features) after the layer."""
        product = self.network.products[layer]
        contracted = product.symmetric_contractions(received, attributes)
        return product.linear(contracted) + self.skipped(layer, features, attributes)

    def energies(self, layer: int, features: torch.Tensor) -> torch.Tensor:
        """Return the energies (n,) in eV that are read from the features after the layer."""
        readouts = self.network.readouts
        skipped = len(self.network.interactions) - len(readouts)  # layers that nothing is read from
        if layer < skipped:
            return 0.0 * features[:, 0]
        heads = torch.full((len(features),), self.head, device=features.device)
        return self.scale * readouts[layer - skipped](features, heads)[:, self.head]

    def terms(self, atoms: Sequence[int]) -> list[Term]:
        """Return for each of `atoms` all terms that come with it, added up. In one pass: memory grows with their number."""
        derivatives = self.differentiated(len(self.network.interactions) - 1, list(atoms), with_terms=True)
        terms = []
        for nodes, hessian in zip(derivatives.nodes, derivatives.hessian, strict=True):
            size, places = len(nodes), np.array(nodes)
            blocks = hessian.unflatten(0, (-1, 3)).unflatten(2, (-1, 3)).transpose(1, 2)[:size, :size]
            terms.append(Term(places[:, 0], places[:, 1:], blocks.cpu().double().numpy()))
        return terms

    def remembered(self, layer: int, atoms: list[int]) -> list[tuple[list[Node], torch.Tensor]]:
        """Return nodes, and derivatives of the features after the layer, of each atom: computed once."""
        unknown = [atom for atom in dict.fromkeys(atoms) if (layer, atom) not in self.known]
        if unknown:
            derivatives = self.differentiated(layer, unknown, with_terms=False)
            for atom, nodes, first in zip(unknown, derivatives.nodes, derivatives.first, strict=True):
                self.known[layer, atom] = nodes, first[: 3 * len(nodes)].clone()
        return [self.known[layer, atom] for atom in atoms]

    def differentiated(self, layer: int, atoms: list[int], *, with_terms: bool) -> Derivatives:
        """Return derivatives of the atoms' features after the layer, and the atoms' terms up to it."""
        before = self.differentiated(layer - 1, atoms, with_terms=with_terms) if layer else None
        incoming = self.incoming(layer, before.nodes if before else [[(atom, 0, 0, 0)] for atom in atoms])
        arrivals = self.arrivals(layer, torch.tensor(atoms, device=self.like["device"]), incoming)
        summed = self.summed_by_positions(layer, incoming, arrivals)
        received, relative = self.received_by_positions(layer, atoms, summed)
        slopes, curvatures = self.contracted(layer, atoms, with_curvatures=with_terms)
        first = self.updated_by_positions(layer, atoms, received, slopes, before)
        if not with_terms:
            return Derivatives(incoming.nodes, first, None)

        pulled = torch.einsum("adkm,amkn->adkn", received, curvatures)
        hessian = received.flatten(2) @ pulled.flatten(2).mT + first @ self.bent(layer, atoms, first).mT
        if relative is not None:  # the second derivatives of a quotient
            pull = self.pull_on_received(layer, atoms).flatten(1)[:, :, None]
            quotient = received.flatten(2) @ pull @ relative.mT
            hessian -= quotient + quotient.mT
        if before:
            inner = before.first.shape[1]
            hessian[:, :inner, :inner] += before.hessian
        self.add_curvature_of_messages(hessian, incoming, arrivals)
        return Derivatives(incoming.nodes, first, hessian)

    def incoming(self, layer: int, nodes: list[list[Node]]) -> Incoming:
        """Return the edges to atoms that depended on `nodes` before the layer, and what comes along them."""
        device, atoms = self.like["device"], [own[0][0] for own in nodes]
        index = [{node: i for i, node in enumerate(own)} for own in nodes]
        edges = np.concatenate([np.arange(*self.first_edge[atom : atom + 2]) for atom in atoms])
        receiver = np.repeat(np.arange(len(atoms)), np.diff(self.first_edge)[atoms])
        senders = self.senders[edges].tolist()
        outer = self.remembered(layer - 1, senders) if layer else [([(a, 0, 0, 0)], None) for a in senders]
        places = []
        for (others, _), i, shift in zip(outer, receiver, self.shifts[edges].tolist(), strict=True):
            moved = ((a, x + shift[0], y + shift[1], z + shift[2]) for a, x, y, z in others)
            places.append([index[i].setdefault(node, len(index[i])) for node in moved])
        coordinates = [3 * place + axis for some in places for place in some for axis in range(3)]
        sent = None
        if layer:  # each derivative is sent on like the features themselves
            sent = self.network.interactions[layer].linear_up(torch.cat([first for _, first in outer]))
        return Incoming(
            nodes=[list(own) for own in index],
            edges=torch.from_numpy(edges).to(device),
            receiver=torch.from_numpy(receiver).to(device),
            neighbour=torch.tensor([some[0] for some in places], device=device),
            counts=torch.tensor([3 * len(some) for some in places], device=device),
            columns=torch.tensor(coordinates, device=device),
            sent=sent,
        )

    def summed_by_positions(self, layer: int, incoming: Incoming, arrivals: Arrivals) -> torch.Tensor:
        """Return derivatives (n * 3 n_nodes, n_paths) of the sums of the messages, and of their density."""
        n_atoms, size = incoming.shape
        receiver = incoming.receiver
        n_paths = arrivals.by_vector.shape[2]
        direct = torch.zeros(n_atoms * size, 3, n_paths, **self.like)
        # The vector is the atom's position less its neighbour's.
        direct.index_add_(0, receiver * size, arrivals.by_vector)
        direct.index_add_(0, receiver * size + incoming.neighbour, -arrivals.by_vector)
        summed = direct.view(-1, n_paths)
        if incoming.sent is not None:  # the neighbours' features move too
            edges, counts = incoming.edges, incoming.counts
            harmonics, weights, _ = self.edge_functions(layer, self.vectors[edges], self.edges[:, edges])
            repeated = [values.repeat_interleave(counts, dim=0) for values in (harmonics, weights)]
            rows = receiver.repeat_interleave(counts) * 3 * size + incoming.columns
            by_features = self.network.interactions[layer].conv_tp(incoming.sent, *repeated)
            # The density does not depend on them.
            summed[:, : by_features.shape[1]].index_add_(0, rows, by_features)
        return summed

    def received_by_positions(
        self, layer: int, atoms: list[int], summed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return derivatives (n, 3 n_nodes, n_channels, n_components) of what arrives, of those of the sums.

        And those (n, 3 n_nodes, 1) of the logarithm of the density that divides it; None without a density.
        """
        n_rows = len(summed) // len(atoms)
        attributes = self.attributes[atoms].repeat_interleave(n_rows, dim=0)
        messages, _ = self.parted(layer, summed)
        _, divisor = self.parted(layer, self.summed[layer][atoms])
        relative = None
        if isinstance(self.network.interactions[layer], BY_DENSITY):
            divisor = divisor.repeat_interleave(n_rows, dim=0)
            relative = (summed[:, -1:] / divisor).view(len(atoms), -1, 1)
        received = self.spread(layer, messages, divisor, attributes).unflatten(0, (len(atoms), -1))
        if relative is not None:
            received = received - relative[..., None] * self.arrived[layer][atoms][:, None]
        return received, relative

    def updated_by_positions(
        self,
        layer: int,
        atoms: list[int],
        received: torch.Tensor,
        slopes: list[torch.Tensor],
        before: Derivatives | None,
    ) -> torch.Tensor:
        """Return derivatives (n, 3 n_nodes, n_features) of the features, of those of what arrives and of the features `before`."""
        by_irrep = [torch.einsum("adkm,amkc->adkc", received, slope).flatten(2) for slope in slopes]
        first = self.network.products[layer].linear(torch.cat(by_irrep, dim=2))
        if before is None:
            return first
        own = torch.zeros(*first.shape[:2], before.first.shape[2], **self.like)
        own[:, : before.first.shape[1]] = before.first
        attributes = self.attributes[atoms].repeat_interleave(first.shape[1], dim=0)
        skipped = self.skipped(layer, own.flatten(0, 1), attributes)
        return first + (skipped.view_as(first) if torch.is_tensor(skipped) else skipped)

    def add_curvature_of_messages(
        self, hessian: torch.Tensor, incoming: Incoming, arrivals: Arrivals
    ) -> None:
        """Add to `hessian` (n, 3 n_nodes, 3 n_nodes) the second derivatives of the messages."""
        n_atoms, size = incoming.shape
        receiver, neighbour = incoming.receiver, incoming.neighbour
        blocks = hessian.view(n_atoms, size, 3, size, 3).transpose(2, 3)
        centre = torch.zeros_like(neighbour)
        for one, other, sign in (
            (centre, centre, 1), (centre, neighbour, -1), (neighbour, centre, -1), (neighbour, neighbour, 1),
        ):  # fmt: skip
            blocks.index_put_((receiver, one, other), sign * arrivals.curvature, accumulate=True)
        if incoming.sent is None:
            return
        counts, columns = incoming.counts, incoming.columns
        crossed = (arrivals.mixed.repeat_interleave(counts, dim=0) @ incoming.sent[:, :, None])[:, :, 0]
        mixed = torch.zeros(n_atoms, size, 3 * size, 3, **self.like)
        atom, end = (numbers.repeat_interleave(counts) for numbers in (receiver, neighbour))
        mixed.index_put_((atom, torch.zeros_like(end), columns), crossed, accumulate=True)
        mixed.index_put_((atom, end, columns), -crossed, accumulate=True)
        mixed = mixed.transpose(2, 3).reshape(hessian.shape)
        hessian += mixed + mixed.mT

    def arrivals(self, layer: int, atoms: torch.Tensor, incoming: Incoming) -> Arrivals:
        """Return derivatives of the messages along the edges to `atoms`, from three passes back through a pass back."""
        ends = self.edges[:, incoming.edges]
        pull = self.pull_on_messages(layer, atoms)[incoming.receiver]
        sent = self.network.interactions[layer].linear_up(self.features[layer][ends[0]])
        vectors = self.vectors[incoming.edges]
        for leaf in (leaves := (pull, sent, vectors)):
            leaf.requires_grad_(True)
        messages = self.messages(layer, sent, vectors, ends)
        energy = (messages * pull).sum()
        if layer == 0:
            energy = energy + self.repulsion(vectors, ends)
        (along,) = torch.autograd.grad(energy, vectors, create_graph=True)
        # Edges do not know of each other: one pass for all of them.
        passes = [torch.autograd.grad(axis.sum(), leaves, retain_graph=True) for axis in along.unbind(1)]
        by_vector, mixed, curvature = (torch.stack(some, dim=1) for some in zip(*passes, strict=True))
        return Arrivals(by_vector, mixed, curvature)

    def pull_on_received(self, layer: int, atoms: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return derivatives (len(atoms), n_channels, n_components) of the energy by what arrived at `atoms`."""
        arrived = self.arrived[layer][atoms].requires_grad_(True)
        new = self.updated(layer, arrived, self.features[layer][atoms], self.attributes[atoms])
        return torch.autograd.grad(new, arrived, self.pulls[layer][atoms])[0]

    def pull_on_messages(self, layer: int, atoms: torch.Tensor) -> torch.Tensor:
        """Return derivatives (len(atoms), n_paths) of the energy by the sums of the messages to `atoms`."""
        summed = self.summed[layer][atoms].requires_grad_(True)
        received = self.received(layer, summed, self.attributes[atoms])
        return torch.autograd.grad(received, summed, self.pull_on_received(layer, atoms))[0]

    def contracted(
        self, layer: int, atoms: list[int], *, with_curvatures: bool
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Return derivatives of the products of what arrived at `atoms`: first, and second pulled by dE/dh.

        A channel's products are of that channel alone, so that one copy of an atom for each of the
        `m` components shows all: [irrep] (n, m, n_channels, dimension) and (n, m, n_channels, m).
        """
        product = self.network.products[layer]
        zero = torch.zeros(len(atoms), product.linear.irreps_in.dim, **self.like, requires_grad=True)
        (pull,) = torch.autograd.grad(product.linear(zero), zero, self.pulls[layer][atoms])
        arrived = self.arrived[layer][atoms]
        m = arrived.shape[2]
        copies = arrived.repeat_interleave(m, dim=0).requires_grad_(True)
        pulls = pull.repeat_interleave(m, dim=0).requires_grad_(True)
        attributes = self.attributes[atoms].repeat_interleave(m, dim=0)
        contracted = product.symmetric_contractions(copies, attributes)
        (slope,) = torch.autograd.grad(contracted, copies, pulls, create_graph=True)
        total = torch.einsum("amkm->", slope.unflatten(0, (len(atoms), m)))
        if with_curvatures:
            first, curvatures = torch.autograd.grad(total, (pulls, copies))
            curvatures = curvatures.unflatten(0, (len(atoms), m))
        else:
            (first,), curvatures = torch.autograd.grad(total, pulls), None
        irreps = product.linear.irreps_in
        parts = zip(irreps, first.split([irrep.dim for irrep in irreps], dim=1), strict=True)
        return [part.view(len(atoms), m, irrep.mul, irrep.ir.dim) for irrep, part in parts], curvatures

    def bent(self, layer: int, atoms: list[int], first: torch.Tensor) -> torch.Tensor:
        """Return `first` (n, rows, n_features) times the second derivatives of the energy read after the layer."""
        copies = self.features[layer + 1][atoms].repeat_interleave(first.shape[1], dim=0).requires_grad_(True)
        (slope,) = torch.autograd.grad(
            self.energies(layer, copies).sum(),
            copies,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        if not slope.requires_grad:  # read linearly, or not at all
            return torch.zeros_like(first)
        return torch.autograd.grad((slope * first.flatten(0, 1)).sum(), copies)[0].view_as(first)
