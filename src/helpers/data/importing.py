"""Import labelled configurations from VASP, extended XYZ with other keys, or what ASE reads, into one checked file.

A source is VASP's ML_AB, vasprun.xml or OUTCAR, extended XYZ, or a file that ASE reads with energies and forces,
told apart by what is in it; it may be compressed (.gz, .bz2, .xz). The result is written only if every source
can be right.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from tqdm import tqdm

from helpers import records
from helpers.data import checks, consistency, dataset, splitting
from helpers.data.vasp import LABELS, Frames, labelled, vasprun
from helpers.data.vasp_ml_ab import ml_ab
from helpers.data.vasp_outcar import outcar

KEYS = {"energy": "energy", "forces": "forces", "stress": "stress"}


def relabelled(atoms: Atoms, labels: dict[str, Any], kept: dict[str, Any]) -> Atoms:
    """Return the frame with these labels and keys and nothing else."""
    frame = labelled(atoms.numbers, atoms.cell.array, atoms.positions, labels)
    frame.pbc = atoms.pbc
    frame.info = kept
    return frame


def xyz(path: Path, keys: dict[str, str]) -> Frames:
    """Yield the frames of extended XYZ, in eV and A, whose labels go by the names `keys` or else by ours.

    A stress by another name need not be in every frame, but in one of them.
    """
    names = KEYS | keys
    if unit := next((key for key in keys.values() if checks.FOREIGN_UNIT.search(key)), None):
        raise ValueError(
            f"{path}: {unit} names another unit. Convert to eV, A, eV/A and eV/A^3, and name it anew"
        )
    with_stress = "stress" not in keys
    given: dict[str, Any] = {}
    for place, atoms in dataset.parse(dataset.text_of(path), path):
        given = atoms.arrays | atoms.info | (atoms.calc.results if atoms.calc else {})
        for name in ("energy", "forces"):
            if names[name] not in given:
                near = [key for key in given if name.rstrip("s") in key.lower()]
                remedy = (
                    f"give --{name}-key, one of: {', '.join(near)}" if near else f"found: {', '.join(given)}"
                )
                raise ValueError(f"{place}: no {names[name]}; {remedy}")
        labels = {name: given[key] for name, key in names.items() if key in given}
        kept = {key: value for key, value in atoms.info.items() if key not in (*names.values(), *LABELS)}
        if "stress" in labels:
            with_stress = True
            if np.size(labels["stress"]) in (6, 9):
                labels["stress"] = checks.voigt(labels["stress"])
            if "virial" in names["stress"].lower():
                kept["virial"] = labels.pop("stress")
        if "free_energy" in given and "energy" not in keys:
            labels["free_energy"] = given["free_energy"]
        settled = {*names.values(), "free_energy", "virial", "virials"}
        others = {key: value for key, value in given.items() if key not in settled}
        remarks = checks.unused(others, len(atoms), keys)
        yield place, relabelled(atoms, labels, kept), remarks
    if not with_stress:
        raise ValueError(f"{path}: no frame has {names['stress']}; found in the last: {', '.join(given)}")


def by_ase(path: Path) -> Frames:
    """Yield the frames of another file that ASE reads, in its units, which are ours."""
    try:
        for number, atoms in enumerate(ase.io.iread(path, index=":"), start=1):
            found = atoms.calc.results if atoms.calc else {}
            labels = {name: found[name] for name in LABELS if found.get(name) is not None}
            kept = {key: value for key, value in atoms.info.items() if key in ("config_type", "seed")}
            yield f"{path}, frame {number}", relabelled(atoms, labels, kept), []
    except Exception as error:  # whatever its parsing meets
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ValueError(
            f"{path}, line 1: neither VASP's ML_AB, vasprun.xml or OUTCAR nor extended XYZ, and ASE does not read it "
            f"({reason}). If it does by another name or format, convert it: "
            "ase.io.write('OUT.xyz', ase.io.read('IN', ':', format='FORMAT'))"
        ) from None


def source(path: Path, keys: dict[str, str]) -> Frames:
    """Frames of a file of any of the formats. Raises ValueError for a file of none of them."""
    with dataset.opened(path) as file:
        head = file.read(2000).decode(errors="replace")
    if not head.strip():
        raise ValueError(f"{path}: the file is empty")
    if re.match(r"\s*\d+\.\d+\s+Version", head):
        reader = ml_ab
    elif head.startswith("<?xml"):
        reader = vasprun
    elif re.search(r"^ *vasp\.\d", head, re.MULTILINE):
        reader = outcar
    elif head.split("\n")[0].strip().isdecimal():
        return xyz(path, keys)
    else:
        reader = by_ase
    if keys:
        raise ValueError(f"{path}: only extended XYZ has keys to choose; leave --{min(keys)}-key out")
    return reader(path)


def group(frames: list[Atoms], path: Path, blocks: int) -> None:
    """Give frames without `seed` the name of their file, and of a block of consecutive frames of their kind.

    One file is taken for one trajectory, so that `splitting.split` keeps it on one side. The name
    ends in a part of the file's SHA-256, for many files are called OUTCAR.
    """
    kinds = defaultdict(list)
    for atoms in frames:
        if "seed" not in atoms.info:
            kinds[dataset.kind(atoms)].append(atoms)
    name = f"{path.name}-{records.sha256(path)[:8]}"
    for members in kinds.values():
        for number, block in enumerate(np.array_split(np.arange(len(members)), blocks), start=1):
            for index in block:
                members[index].info["seed"] = name if blocks == 1 else f"{name}-{number}"


def read(path: Path, keys: dict[str, str], blocks: int = 1) -> tuple[list[Atoms], list[str], list[str]]:
    """Checked frames of a file in our keys and units; a line on each that was left out; and lines on the others.

    Raises ValueError, one line with the file and the place, for what cannot be right.
    """
    frames, left_out, remarks = [], [], defaultdict(list)
    for place, atoms, said in tqdm(
        source(path, keys), desc=path.name, unit="frame", leave=False, disable=None
    ):
        if atoms is None:
            left_out.append(f"{place}: {said[0]}")
            continue
        changes = checks.settle(atoms)
        if complaint := checks.problem(atoms):
            raise ValueError(f"{place}: {complaint}")
        for remark in said + changes + checks.net_force(atoms):
            remarks[remark].append(place)
        frames.append(atoms)
    if not frames:
        first = f", the first: {left_out[0]}" if left_out else ""
        raise ValueError(f"{path}: no frame is left to import ({len(left_out)} left out{first})")
    consistency.check_sizes(frames, path)
    try:
        consistency.check_units(frames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    group(frames, path, blocks)
    return frames, left_out, checks.told(remarks)


def to_file(sources: list[Path], target: Path, keys: dict[str, str], blocks: int = 1) -> bool:
    """Write the checked frames of all `sources` to `target`, and say what they are; whether none was left out.

    Raises ValueError, one line, for what cannot be right, and then writes nothing.
    """
    if target.exists():
        raise ValueError(f"{target} exists: name another file for the result, or move it away")
    if blocks < 1:
        raise ValueError(f"--blocks {blocks}: must be 1 or more")
    found = [read(path, keys, blocks) for path in sources]
    frames = [atoms for members, _, _ in found for atoms in members]
    dataset.write(target, frames)
    groups = {dataset.group(atoms) for atoms in frames}
    print(f"wrote {target}: {len(frames)} frames, {sum(map(len, frames))} atoms, {len(groups)} groups")
    try:
        splitting.split(frames)
    except ValueError:
        print("too few groups to train on: give several IN, or cut long trajectories by --blocks")
    free = sum("free_energy" in atoms.calc.results for atoms in frames)
    if 0 < free < len(frames):
        print(f"only {free} have a free_energy, which is then used instead of energy: is that one scale?")
    left_out = [line for _, lines, _ in found for line in lines]
    for line in left_out + [line for _, _, lines in found for line in lines]:
        print(line, file=sys.stderr)
    return not left_out
