"""What a user would pick instead: foundation models as they come, beside ours, on the same frames and DFT phonons.

    python -m uv venv ENV && python -m uv pip install --python ENV -r benchmarks/foundation_models/requirements.txt
    python benchmarks/foundation_models/compare.py ENV

Writes data/foundation_models.json, which 03 reads; two minutes on one core that does nothing else.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

from defectphonons import force_constants, potentials, relaxation, spectra, structures
from helpers import parameters, paths, records
from helpers.data import accuracy, dataset
from helpers.models import evaluation, potential

HERE = Path(__file__).parent
MODELS = ("SevenNet-0", "SevenNet-l3i5", "CHGNet")
OURS = parameters.Evaluation.model_fields["model"].default
REFERENCES = (*dict.fromkeys(name for name, _ in evaluation.SHEET.values()), "vacancy_3x3")


def foreign(python: Path, model: str, frames: list[Atoms], sheet: Atoms) -> dict:
    """What predict.py says of the frames and the sheet."""
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / name for name in ("frames.xyz", "sheet.xyz", "out.json")]
        ase.io.write(files[0], [Atoms(each) for each in frames])
        ase.io.write(files[1], sheet)
        done = subprocess.run(
            [python, HERE / "predict.py", model, *files], capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = "\n".join(done.stderr.splitlines()[-5:])
            raise RuntimeError(f"predict.py failed for {model}; its last lines:\n{last}")
        return json.loads(files[2].read_text())


def our_own(name: str, frames: list[Atoms], sheet: Atoms) -> dict:
    """The same of one of our models."""
    mace = potential.load(name)
    relaxed = relaxation.relax(sheet, mace, hold_symmetry=True, relax_cell=True)
    large, seconds = structures.supercell(sheet, 3), []
    for number in range(6):
        large.rattle(1e-4, seed=number)
        started = time.perf_counter()
        potentials.evaluate(mace, large)
        seconds.append(time.perf_counter() - started)
    return {
        "lattice_constant_A": float(relaxed.cell.lengths()[0]),
        "thickness_A": relaxation.thickness(relaxed),
        "seconds_3x3": float(np.median(seconds[1:])),
        "frames": [potentials.evaluate(mace, atoms) for atoms in frames],
    }


def with_labels(atoms: Atoms, found: dict) -> Atoms:
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{name: found[name] for name in ("energy", "forces", "stress")})
    return copy


def judge(found: dict, test: list[Atoms], shapes: dict[str, int]) -> dict:
    """Errors of forces, phonons and lattice constant of what a model found for `test` and then for displaced cells."""
    predicted = [with_labels(atoms, each) for atoms, each in zip(test, found["frames"], strict=False)]
    # Energies of another code differ by a constant for each element.
    E0s, _ = accuracy.reference_energies(test, predicted)
    for atoms in predicted:
        atoms.calc.results["energy"] += sum(E0s[number] for number in atoms.numbers)
    row: dict[str, Any] = {"errors": accuracy.errors(test, predicted)}
    start, per_cm = len(test), {}
    for name, count in shapes.items():
        dft, ours = evaluation.reference(name), evaluation.reference(name)
        ours.forces = np.array([each["forces"] for each in found["frames"][start : start + count]])
        start += count
        ours.produce_force_constants(
            fc_calculator="traditional", calculate_full_force_constants=False, show_drift=False
        )
        evaluation.symmetrised(dft, ours)
        for label in [label for label, (cell, _) in evaluation.SHEET.items() if cell == name]:
            pairs = evaluation.sheet_pairs(dft, ours, label)
            per_cm[label] = float(abs(pairs[:, 1] - pairs[:, 0]).mean() * spectra.PER_CM)
            if label == "Γ":
                row["over_dft_at_gamma"] = float(np.mean(pairs[:, 1] / pairs[:, 0]))
        if name == "vacancy_3x3":
            row["force_changes_meV_per_A"] = evaluation.force_changes(dft, ours)
            per_cm["vacancy"] = evaluation.mean_error(evaluation.optical_sets(dft, ours))
    return row | {"phonons_per_cm": per_cm} | {name: found[name] for name in found if name != "frames"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("environment", type=Path, metavar="ENV", help="with the packages of requirements.txt")
    python = parser.parse_args().environment.absolute() / "bin" / "python"
    data = parameters.Evaluation.model_fields["data"].default
    test = potential.sides(potential.load(OURS), dataset.read(paths.data_file(data)))[0]["test"]
    _, start = evaluation.dft_sheet()
    frames, shapes = list(test), {}
    for name in REFERENCES:
        cells = evaluation.reference(name).supercells_with_displacements
        shapes[name] = len(cells)
        frames += [force_constants.to_ase(cell) for cell in cells]
    rows = {}
    for model in tqdm([OURS, *MODELS], unit="model"):
        found = our_own(model, frames, start) if model == OURS else foreign(python, model, frames, start)
        rows[model] = judge(found, test, shapes)
    records.write_json(
        paths.DATA / "foundation_models.json",
        {
            "data": {"file": data, "sha256": records.sha256(paths.data_file(data))},
            "model": {"name": OURS, "sha256": records.sha256(paths.model_file(OURS))},
            "packages": [
                line for line in (HERE / "requirements.txt").read_text().split("\n") if "==" in line
            ],
            "rows": rows,
            "versions": records.versions(),
        },
    )


if __name__ == "__main__":
    main()
