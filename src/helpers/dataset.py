"""Labelled configurations: read, check, describe, split. Energies in eV, forces in eV/A, stress in eV/A^3.

A frame is an ase.Atoms with energy, forces and, if known, stress in its calculator. Two keys of
its comment line order a file, and a file without them works too: `config_type` is its kind, and
frames of one kind and `seed` form a group, made from one cell or along one trajectory.
"""

import contextlib
import hashlib
import io
import lzma
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.formula import Formula
from ase.geometry import find_mic
from ase.io.formats import open_with_compression
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.spatial import cKDTree
from tqdm import tqdm

from helpers import records

INDEPENDENT = "give frames that were made independently a `seed` of their own in the comment line"
SIDES = ("train", "validation", "test")
WHERE_TO_WRITE = {
    "energy": "in the comment line, as energy=... in eV",
    "forces": "three columns after the positions, in eV/A, with forces:R:3 in Properties",
}
ISOLATED = "isolated_atom"
VACUUM = 6.0  # A; cutoffs of models are hardly longer, so that images across it do not touch
# What labels by other names are called, the option that takes them, and their sizes for n atoms.
LIKE_LABELS = (
    ("energ", "energy", lambda n: (1,)),
    ("force", "forces", lambda n: (3 * n,)),
    ("stress", "stress", lambda n: (6, 9)),
    ("virial", "stress", lambda n: (6, 9)),
)
FOREIGN_UNIT = re.compile(
    r"(?<![a-zA-Z])(kJ|meV|Ha|Ry|a\.?u\.?|nm|pm|[GM]?Pa|k?bar|real|atomic)(?![a-zA-Z])|(/|per).?atom"
    r"|(?i:hartree(?!.?fock)|rydberg|bohr|kcal)"
)
OTHER_QUANTITY = re.compile(r"(?i)dipole|charge|time|mass|veloc|freq|mag|temp")
STRESS_TEXT = re.compile(r"""(?<!\S)(stress|virial)=["'{[]+([^"'}\]]*)["'}\]]+""")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed. Raises ValueError for a damaged archive, OSError for no file."""
    try:
        with open_with_compression(path, "rb") as file:
            yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if getattr(error, "filename", None):
            raise
        raise ValueError(
            f"{path}: the compressed file is cut short or damaged ({error}). Copy it again"
        ) from None


def text_of(path: Path) -> str:
    """Return the text of a file, decompressed. Raises ValueError naming the line where it is not UTF-8."""
    with opened(path) as file:
        content = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the byte {content[error.start]:#x} is not UTF-8: a damaged file, or another "
            "encoding. Copy it again, or convert it (iconv -f latin1 -t utf8)"
        ) from None


def voigt(tensor: Any) -> np.ndarray:
    """Return a symmetric tensor of six (xx yy zz yz xz xy) or nine numbers as six."""
    flat = np.ravel(tensor)
    return full_3x3_to_voigt_6_stress(flat.reshape(3, 3)) if flat.size == 9 else flat


def foreign_unit(info: dict[str, Any]) -> str | None:
    """Return what in a comment line says that labels are not in our units: a key about units, or a word."""
    for key, value in info.items():
        about_units = "unit" in key.lower() and not OTHER_QUANTITY.search(key)
        if about_units and FOREIGN_UNIT.search(str(value)):
            return f"{key}={value}"
        if value is True and len(key) > 3 and FOREIGN_UNIT.search(key):
            return key
    return None


def vacuum(atoms: Atoms, axis: int) -> float:
    """Return the height of a cell along a cell vector, in A, without the part between the outermost atoms."""
    fractions = atoms.cell.scaled_positions(atoms.positions)[:, axis]
    return float((1 - np.ptp(fractions)) / np.linalg.norm(atoms.cell.reciprocal()[axis]))


def problem(atoms: Atoms) -> str | None:
    """Return what forbids the use of a frame, and what to do about it; None if nothing does."""
    labels = atoms.calc.results if atoms.calc else {}
    for name, place in WHERE_TO_WRITE.items():
        if name not in labels:
            similar = [
                key for key in (*atoms.info, *atoms.arrays, *labels) if name.rstrip("s") in key.lower()
            ]
            found = f" (found: {', '.join(similar)})" if similar else ""
            return f"no {name}{found}. Write them {place}, or drop the frame"
    if not atoms.numbers.all():
        return "X is no element. Write the symbol of each atom"
    if unit := foreign_unit(atoms.info):
        return f"{unit} in the comment line. Convert to eV, A, eV/A and eV/A^3, and delete it there"
    quantities = {
        "cell": (atoms.cell.array, (3, 3)),
        "positions": (atoms.positions, (len(atoms), 3)),
        "energy": (labels["energy"], ()),
        "forces": (labels["forces"], (len(atoms), 3)),
    }
    for name, shape in (("stress", (6,)), ("free_energy", ())):
        if name in labels:
            quantities[name] = (labels[name], shape)
    for name, (given, shape) in quantities.items():
        value = np.asarray(given)
        if value.shape != shape or value.dtype.kind not in "iuf":
            return f"{name} must be numbers of shape {shape}, not {given!r}. Correct the frame"
        if not np.isfinite(value).all():
            return f"NaN or infinity in {name}. Compute the frame again or drop it"
    if atoms.cell.volume < 1e-6:
        return (
            'no cell, or one of zero volume. Write Lattice="ax ay az bx by bz cx cy cz" in A; for a molecule, '
            f"a box with {VACUUM:g} A of vacuum or more"
        )
    for axis in np.flatnonzero(~atoms.pbc):
        if (gap := vacuum(atoms, axis)) < VACUUM:
            return (
                f"not periodic along cell vector {axis + 1}, which leaves {gap:.1f} A of vacuum: training needs a "
                f"periodic cell, and images less than {VACUUM:g} A apart would touch. Set pbc to T there if DFT "
                "was periodic, else lengthen the vector"
            )
    return None


def settle(atoms: Atoms) -> list[str]:
    """Change what a training would misunderstand in a frame, and return a remark on each change.

    A virial becomes a stress. A stress of nothing but zeros or NaN goes. A direction that is not
    periodic becomes so if the cell has vacuum there, for MACE takes its cell vector for a far longer
    one and divides the stress by that volume. An isolated atom without a cell gets one. The name
    IsolatedAtom goes, for of frames called so MACE reads no energy and then takes E0 = 0, whatever it is told.
    """
    remarks = []
    labels = atoms.calc.results if atoms.calc else {}
    if len(atoms) == 1 and not atoms.cell.any() and not atoms.pbc.any():
        atoms.center(vacuum=VACUUM)
        atoms.pbc = True
        remarks.append(f"an isolated atom without a cell: given one of {2 * VACUUM:g} A")
    if atoms.info.get("config_type") == "IsolatedAtom":
        atoms.info["config_type"] = ISOLATED
        remarks.append(f"its config_type is now {ISOLATED}, since MACE would take IsolatedAtom for E0 = 0")
    has_volume = np.isfinite(atoms.cell.array).all() and atoms.cell.volume > 1e-6
    for key in ("virial", "virials"):
        if np.size(atoms.info.get(key)) in (6, 9) and labels and "stress" not in labels and has_volume:
            labels["stress"] = -voigt(atoms.info.pop(key)) / atoms.cell.volume
            remarks.append(f"the stress is taken as -{key}/volume")
    stress = np.asarray(labels.get("stress", "none"))
    if stress.dtype.kind in "iuf" and (not stress.any() or np.isnan(stress).all()):
        del labels["stress"]
        remarks.append("a stress of nothing but zeros or NaN, as if none was computed: left out")
    axes = np.flatnonzero(~atoms.pbc)
    if len(axes) and has_volume and min(vacuum(atoms, axis) for axis in axes) >= VACUUM:
        atoms.pbc = True
        remarks.append("taken as periodic in all directions, its cell having vacuum where it was not")
    if remarks and atoms.calc:
        atoms.calc.atoms = atoms.copy()  # or ASE would take the labels for those of another frame
    return remarks


def unused(given: dict[str, Any], n_atoms: int, chosen: Collection[str] = ()) -> list[str]:
    """Return a remark on each quantity of a frame that could be another set of labels, but for those `chosen`."""
    remarks = []
    for key, value in given.items():
        names = [each for each in LIKE_LABELS if each[0] in key.lower() and "weight" not in key.lower()]
        for _, option, sizes in names[:1]:
            if (
                option not in chosen
                and np.asarray(value).dtype.kind in "iuf"
                and np.size(value) in sizes(n_atoms)
            ):
                remarks.append(f"{key} is there and not used; the importer takes it by --{option}-key {key}")
    return remarks


def net_force(atoms: Atoms) -> list[str]:
    """Return a remark if the forces of a frame do not sum to zero, within what errors of 0.1 eV/A each add up to."""
    if np.linalg.norm(atoms.calc.results["forces"].sum(axis=0)) < 0.1 * np.sqrt(len(atoms)):
        return []
    return [
        "the forces do not sum to zero: an external field, not converged, or not all the forces; "
        "if no field acts, compute the frame again or drop it"
    ]


def told(remarks: dict[str, list[str]]) -> list[str]:
    """Return a line on each remark, with the places that it was made on."""
    lines = []
    for remark, (first, *others) in remarks.items():
        named = [place.split(", ")[-1] for place in others[:9]] + ["..."] * (len(others) > 9)
        more = f" ({1 + len(others)} frames: also {', '.join(named)})" if others else ""
        lines.append(f"{first}: {remark}{more}")
    return lines


def nine_numbers(match: re.Match) -> str:
    """Return a stress as the nine numbers that ASE wants, of a `STRESS_TEXT` of six."""
    words = match[2].replace(",", " ").split()
    if len(words) != 6:
        return match[0]
    xx, yy, zz, yz, xz, xy = words
    return f'{match[1]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'


def parse(text: str, path: Path) -> Iterator[tuple[str, Atoms]]:
    """Place and frame, one after the other, of extended XYZ; `path` is for the places.

    Constraints are taken off, for ASE and MACE would take forces on fixed atoms for zero.
    Raises ValueError for an empty file, anything that is not extended XYZ, a truncated last
    frame, and a frame without atoms. Labels are not checked.
    """
    lines = text.rstrip().split("\n")
    start = number = 0
    if not text.strip():
        raise ValueError(f"{path}: the file is empty. Give an extended XYZ file with energies and forces")
    # Frames are told apart here, one at a time: ASE's reader stops silently at an empty line,
    # accepts a last number that was cut short, and does not say which frame is wrong.
    while start < len(lines):
        number += 1
        where = f"{path}, frame {number}"
        count = lines[start].strip()
        if not count.isdecimal():
            raise ValueError(
                f"{where}: line {start + 1} must be a number of atoms, not {count[:40]!r}. Give extended XYZ: "
                "a number of atoms, a comment line, and one line an atom, without empty lines"
            )
        if int(count) == 0:
            raise ValueError(f"{where}: zero atoms. Drop the frame")
        end = start + int(count) + 2
        if end > len(lines) or (end == len(lines) and not text.endswith("\n")):
            raise ValueError(
                f"{where}: truncated; the file ends before the frame's {count} atoms and the end of the last "
                "line. Copy the file again, or drop the frame (if it is whole, end its last line)"
            )
        try:
            comment = STRESS_TEXT.sub(nine_numbers, lines[start + 1])
            block = io.StringIO("\n".join([count, comment, *lines[start + 2 : end]]) + "\n")
            atoms = ase.io.read(block, format="extxyz")
            atoms.set_constraint()
        except Exception as error:  # ASE raises whatever its parsing meets, from KeyError to OSError
            raise ValueError(
                f"{where}: not extended XYZ ({type(error).__name__}: {error}). Correct lines {start + 1} to {end}"
            ) from error
        yield where, atoms
        start = end


def read(path: Path) -> list[Atoms]:
    """Frames of an extended XYZ file, each with energy and forces; stress may be missing.

    What `settle` changes and labels that are not used are told on stderr. Raises ValueError naming
    the file, the frame (counted from 1) and the remedy for what `parse` and `problem` refuse.
    """
    frames: list[Atoms] = []
    remarks = defaultdict(list)
    for where, atoms in parse(text_of(Path(path)), path):
        changes = settle(atoms)
        if complaint := problem(atoms):
            raise ValueError(f"{where}: {complaint}")
        overlooked = unused(atoms.info | atoms.arrays, len(atoms))
        for remark in changes + overlooked + net_force(atoms):
            remarks[remark].append(where)
        frames.append(atoms)
    for line in told(remarks):
        print(line, file=sys.stderr)
    return frames


def write(path: Path, frames: list[Atoms]) -> None:
    """Write extended XYZ with energy, forces and stress under these names, whole or not at all."""
    with records.whole_file(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def energy(atoms: Atoms) -> float:
    """Total energy in eV: the one that the forces are the gradient of, `free_energy`, where a frame has it."""
    labels = atoms.calc.results
    return float(labels.get("free_energy", labels["energy"]))


def cell_name(atoms: Atoms) -> str:
    """Short hash of composition and cell (to 0.001 A): equal for frames of one trajectory at fixed cell."""
    # + 0.0 makes -0.0 and 0.0 the same bytes.
    content = np.sort(atoms.numbers).tobytes() + (atoms.cell.array.round(3) + 0.0).tobytes()
    return hashlib.sha256(content).hexdigest()[:8]


def isolated(atoms: Atoms) -> bool:
    """Return whether a frame is an isolated atom: called so, or far from its images."""
    if len(atoms) > 1:
        return False
    named = atoms.info.get("config_type") == ISOLATED
    return named or atoms.cell.minkowski_reduce()[0].lengths().min() >= VACUUM


def kind(atoms: Atoms) -> str:
    """`config_type` of a frame; without one, `ISOLATED` or its chemical formula."""
    formula = ISOLATED if isolated(atoms) else atoms.get_chemical_formula("metal")
    return str(atoms.info.get("config_type", formula))


def group(atoms: Atoms) -> str:
    """'kind/seed': frames of one group must stay on one side of a split.

    Without a `seed`, all frames of one composition and one cell form a group, since they may
    come from one trajectory.
    """
    return f"{kind(atoms)}/{atoms.info.get('seed', cell_name(atoms))}"


def split(frames: list[Atoms], fold: int = 0) -> dict[str, list[Atoms]]:
    """Train, validation and test frames, whole groups each, every kind on its own.

    A kind's groups are ranked by the SHA-256 of their names, which needs no seed and survives
    reordering. n = max(1, a tenth of the groups): the first n are test (of two groups or more),
    the next n validation (of three or more), the rest train. Each further `fold` validates with
    the n groups after that, in turn; the test stays the same. Groups with isolated atoms train,
    since nobody else knows their energy.
    Raises ValueError if a side is left without frames.
    """
    side = {group(atoms): "train" for atoms in frames if isolated(atoms)}
    kinds: dict[str, set[str]] = defaultdict(set)
    for atoms in frames:
        if group(atoms) not in side:
            kinds[kind(atoms)].add(group(atoms))
    for groups in kinds.values():
        ranked = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        n = max(1, round(len(ranked) / 10))
        n_test = n if len(ranked) > 1 else 0
        n_validation = n if len(ranked) > 2 else 0
        turned = fold * n % max(1, len(ranked) - n_test)
        others = ranked[n_test + turned :] + ranked[n_test : n_test + turned]
        for rank, name in enumerate(ranked[:n_test] + others):
            side[name] = SIDES[2 if rank < n_test else 1 if rank < n_test + n_validation else 0]
    parts = {name: [atoms for atoms in frames if side[group(atoms)] == name] for name in SIDES}
    for name, part in parts.items():
        if not part:
            raise ValueError(
                f"no frames are left for {name}: {len(frames)} frames form {len(side)} groups of {len(kinds)} "
                f"kinds. One kind needs three groups: {INDEPENDENT}"
            )
    return parts


def held_back(frames: list[Atoms], share: float, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Numbers of the frames to choose from, and of those to test on: a random `share` of the groups.

    Isolated atoms are not tested on. Raises ValueError if there are too few groups.
    """
    groups = sorted(
        {group(atoms) for atoms in frames} - {group(atoms) for atoms in frames if isolated(atoms)}
    )
    test = set(rng.permutation(groups)[: round(share * len(groups))].tolist())
    if not 0 < len(test) < len(groups):
        raise ValueError(
            f"{len(frames)} frames form {len(groups)} groups, too few to hold some out: {INDEPENDENT}"
        )
    side = [group(atoms) in test for atoms in frames]
    return [i for i, out in enumerate(side) if not out], [i for i, out in enumerate(side) if out]


def close_pairs(frames: list[Atoms]) -> list[tuple[int, int, float, float]]:
    """Pairs (i, j, energy difference, work) of frames of one cell, near enough to compare the two.

    work = -(F_i + F_j)/2 . (R_j - R_i) in eV, the trapezoid rule, for each frame with the next
    five of its cell and species order. Its error is of third order: for a Morse bond of
    exponent 2/A, |dF . dR| d / (2 A) at displacement d. Pairs where that exceeds a tenth of the
    work are left out, and those in which an atom is half an A or more away: another site may be empty.
    So are pairs whose work and energy difference are below 1 meV/atom, where noise would decide.
    """
    cells: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(frames):
        cells[cell_name(atoms)].append(index)
    pairs = []
    for indices in cells.values():
        later = ((i, j) for k, i in enumerate(indices) for j in indices[k + 1 : k + 6])
        for i, j in later:
            first, second = frames[i], frames[j]
            if not np.array_equal(first.numbers, second.numbers):
                continue
            step, length = find_mic(second.positions - first.positions, first.cell, first.pbc)
            forces = first.calc.results["forces"], second.calc.results["forces"]
            work = -float(np.sum((forces[0] + forces[1]) / 2 * step))
            error = abs(np.sum((forces[1] - forces[0]) * step)) * length.max() / 2
            change = energy(second) - energy(first)
            above_noise = max(abs(work), abs(change)) > 0.001 * len(first)
            if length.max() < 0.5 and error < 0.1 * abs(work) and above_noise:
                pairs.append((i, j, change, work))
    return pairs


def unit_mistakes() -> dict[str, float]:
    """What energy difference / work comes to, for each usual mistake in one of the two units."""
    eV = {"Hartree": units.Hartree, "Rydberg": units.Rydberg, "kcal/mol": units.kcal / units.mol,
          "kJ/mol": units.kJ / units.mol}  # fmt: skip
    return {
        **{f"energies in {name} with forces in eV/A": 1 / value for name, value in eV.items()},
        **{
            f"forces in {name}/A with energies in eV, or energies converted from {name} twice": value
            for name, value in eV.items()
        },
        **{f"forces in {name}/Bohr with energies in eV": value / units.Bohr for name, value in eV.items()},
        "forces per Bohr with positions in A": 1 / units.Bohr,
        "positions in Bohr with forces per A": units.Bohr,
    }


def check_units(frames: list[Atoms]) -> tuple[float | None, int]:
    """Energy difference / work of the forces over close pairs of frames, and the number of pairs.

    The ratio is a median weighted by the work, so that neither noise nor single frames move it;
    None if no two frames are close enough to tell. Units that agree with each other but not with
    eV and A (all in Hartree and Bohr) give 1 too: no ratio can show them.
    Raises ValueError if it is not between 0.7 and 1.4, naming the units that explain it, or if
    single frames disagree. (No mistake in units lies in between, but the error of the trapezoid may.)
    """
    pairs = close_pairs(frames)
    if not pairs:
        return None, 0
    change, work = np.array([pair[2:] for pair in pairs]).T
    order = np.argsort(change / work)
    total = np.cumsum(np.abs(work[order]))
    ratio = float((change / work)[order][np.searchsorted(total, total[-1] / 2)])
    evidence = (
        f"between {len(pairs)} pairs of close frames of one cell the energy changes by {ratio:.4g} times "
        "the work of the forces"
    )
    if not 0.7 < ratio < 1.4:
        deviation = {
            name: abs(np.log(abs(ratio) / value)) for name, value in unit_mistakes().items() if ratio > 0
        }
        name = min(deviation, key=deviation.get, default=None)
        if name is None:
            cause = "the opposite sign: forces are minus the gradient of the energy"
        elif deviation[name] < 0.04:
            cause = f"as for {name}"
        else:
            cause = "which no usual mistake in units explains: are both from the same calculation?"
        raise ValueError(f"energies and forces disagree: {evidence}, {cause}. Convert to eV, A and eV/A")
    sizes = np.array([len(frames[pair[0]]) for pair in pairs])
    excess = np.abs(change - work) - 0.5 * np.abs(work) - 0.001 * sizes
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        i, j = pairs[worst][:2]
        raise ValueError(
            f"energies and forces of frames {i + 1} and {j + 1} (counted from 1) disagree: {change[worst]:.4g} eV "
            f"against {work[worst]:.4g} eV of work, though {evidence}. Compute the two again, or drop them"
        )
    return ratio, len(pairs)


def duplicates(frames: list[Atoms]) -> list[tuple[int, int]]:
    """Pairs of frames of one cell whose atoms lie within 0.001 A, up to lattice vectors.

    Atoms are compared in the order of the file.
    """
    tolerance = 0.001  # A
    species: dict[bytes, list[int]] = defaultdict(list)
    for index, atoms in enumerate(frames):
        species[atoms.numbers.tobytes()].append(index)
    found = []
    for indices in species.values():
        fractional = np.array([frames[i].get_scaled_positions(wrap=False).ravel() for i in indices])
        radius = tolerance * max(np.linalg.norm(frames[i].cell.reciprocal(), axis=1).max() for i in indices)
        tree = cKDTree(fractional % 1 % 1, boxsize=1)  # -1e-20 % 1 is 1.0, outside the box
        for first, second in tree.query_pairs(radius, p=np.inf):
            a, b = frames[indices[first]], frames[indices[second]]
            _, lengths = find_mic(b.positions - a.positions, a.cell, a.pbc)
            if np.abs(a.cell.array - b.cell.array).max() < tolerance and lengths.max() < tolerance:
                found.append((indices[first], indices[second]))
    return sorted(found)


def reference_energies(frames: list[Atoms], predicted: Sequence[Atoms] = ()) -> tuple[dict[int, float], int]:
    """E0 in eV by atomic number, and the rank of the composition matrix.

    The E0 of an element with an isolated atom among the frames is that atom's energy (the lowest of
    several). The others are the least-squares fit of sum_Z n_Z E0_Z to what remains of the total
    energies; with `predicted`, the same frames by a model, to what those lack. Of several that fit
    equally well, the one of least norm.
    They are determined by the data only if the rank equals the number of elements: frames that all
    have one stoichiometry give rank 1 and an arbitrary share of the energy to each element.
    """
    elements = sorted({int(number) for atoms in frames for number in atoms.numbers})
    counts = np.array([[np.sum(atoms.numbers == number) for number in elements] for atoms in frames], float)
    energies = np.array([energy(atoms) for atoms in frames])
    lowest_last = np.argsort(-energies, kind="stable")
    if predicted:
        energies -= [energy(atoms) for atoms in predicted]
    known = {int(frames[i].numbers[0]): float(energies[i]) for i in lowest_last if isolated(frames[i])}
    fitted = [column for column, number in enumerate(elements) if number not in known]
    for number, value in known.items():
        energies -= value * counts[:, elements.index(number)]
    solution, _, rank, _ = np.linalg.lstsq(counts[:, fitted], energies, rcond=None)
    E0s = known | {elements[column]: float(value) for column, value in zip(fitted, solution, strict=True)}
    return {number: E0s[number] for number in elements}, int(rank) + len(known)


def of_elements(frames: list[Atoms], elements: tuple[str, ...]) -> list[Atoms]:
    """The frames that have no other elements."""
    return [atoms for atoms in frames if set(atoms.symbols) <= set(elements)]


def predict(frames: list[Atoms], calculator: Calculator) -> list[Atoms]:
    """Copies of the frames with energy, forces and stress from `calculator`."""
    copies = []
    for atoms in tqdm(frames, desc="frames", unit="frame", leave=False, disable=len(frames) < 50):
        calculator.calculate(atoms)
        results = {name: calculator.results[name] for name in ("energy", "forces", "stress")}
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **results)
        copies.append(copy)
    return copies


def errors(frames: list[Atoms], predicted: list[Atoms]) -> dict[str, dict[str, float]]:
    """RMSE and MAE of `predicted` over `frames`, in total and by kind.

    Of the energy per atom (meV), the force components (meV/A) and the nine components of the
    stress (meV/A^3; frames that have one).
    """
    deviations: dict[str, Any] = defaultdict(lambda: defaultdict(list))
    for atoms, ours in zip(frames, predicted, strict=True):
        each = {
            "energy_meV_per_atom": [(energy(ours) - energy(atoms)) / len(atoms)],
            "force_meV_per_A": (ours.get_forces() - atoms.get_forces()).ravel(),
        }
        if "stress" in atoms.calc.results:
            difference = ours.get_stress(voigt=False) - atoms.get_stress(voigt=False)
            each["stress_meV_per_A3"] = difference.ravel()
        for name in ("total", kind(atoms)):
            for quantity, values in each.items():
                deviations[name][quantity].extend(1000 * np.asarray(values))
    table: dict[str, dict[str, float]] = {}
    for name in ["total", *sorted(deviations.keys() - {"total"})]:
        quantities = deviations[name]
        table[name] = {"frames": len(quantities["energy_meV_per_atom"])}
        for quantity, values in quantities.items():
            table[name][f"rmse_{quantity}"] = float(np.sqrt(np.mean(np.square(values))))
            table[name][f"mae_{quantity}"] = float(np.mean(np.abs(values)))
    return table


def force_rmse(frames: list[Atoms], predicted: list[Atoms], labels: list[np.ndarray]) -> dict[Any, float]:
    """RMSE of the force components in meV/A by label; `labels` has one for each atom of each frame."""
    squares = defaultdict(list)
    for atoms, ours, names in zip(frames, predicted, labels, strict=True):
        for name, deviation in zip(names, ours.get_forces() - atoms.get_forces(), strict=True):
            squares[name].extend(deviation**2)
    return {name: 1000 * float(np.sqrt(np.mean(values))) for name, values in sorted(squares.items())}


def vacant_species(frames: list[Atoms], formula: str) -> set[str]:
    """Elements of which some frame has fewer atoms than `formula` asks for, given its other elements."""
    share = Formula(formula).count()
    found = set()
    for atoms in frames:
        filled = {symbol: np.sum(atoms.symbols == symbol) / count for symbol, count in share.items()}
        found |= {symbol for symbol, cells in filled.items() if cells < max(filled.values())}
    return found


def extent(values: list[np.ndarray]) -> list[float] | None:
    """[smallest, largest] of all numbers in `values`; None without any."""
    numbers = np.concatenate([np.ravel(value) for value in values]) if values else np.array([])
    return [float(numbers.min()), float(numbers.max())] if numbers.size else None


def describe(frames: list[Atoms]) -> list[dict[str, Any]]:
    """One row a kind: counts, largest force on an atom, else [smallest, largest], None if unknown.

    Strain and rattle come from the keys of that name; stress covers xx and yy.
    """
    kinds: dict[str, list[Atoms]] = defaultdict(list)
    for atoms in frames:
        kinds[kind(atoms)].append(atoms)
    rows = []
    for name, members in sorted(kinds.items()):
        info = [atoms.info for atoms in members]
        labels = [atoms.calc.results for atoms in members]
        rows.append(
            {
                "kind": name,
                "frames": len(members),
                "groups": len({group(atoms) for atoms in members}),
                "atoms": sum(len(atoms) for atoms in members),
                "strain_percent": extent(
                    [100 * np.asarray(each["strain"]) for each in info if "strain" in each]
                ),
                "rattle_A": extent([each["rattle"] for each in info if "rattle" in each]),
                "eV_per_atom": extent([energy(atoms) / len(atoms) for atoms in members]),
                "max_force_eV_per_A": max(
                    float(np.linalg.norm(each["forces"], axis=1).max()) for each in labels
                ),
                "stress_eV_per_A3": extent([each["stress"][:2] for each in labels if "stress" in each]),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of `describe` as text, a column for each key, ranges to three digits."""
    lines = [list(rows[0])]
    for row in rows:
        texts = {key: "-" for key, value in row.items() if value is None}
        texts |= {key: f"{value:.3g}" for key, value in row.items() if isinstance(value, float)}
        texts |= {key: f"{v[0]:.3g} to {v[1]:.3g}" for key, v in row.items() if isinstance(v, list)}
        lines.append([str(texts.get(key, value)) for key, value in row.items()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
