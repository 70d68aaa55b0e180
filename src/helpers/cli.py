"""The command `wse2`: what is done without a notebook. Each command imports what it needs, so that help comes at once."""

import importlib.util
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers import paths

if TYPE_CHECKING:
    from ase import Atoms

# What errors call by the names that notebooks have for it.
OPTIONS = {
    "set trust_model = True": "give --trust-model",
    "set device = 'cpu'": "give --device cpu",
    'use method = "finite_differences"': "give --differences",
}


class App(typer.Typer):
    """Commands that end with one line on stderr and exit code 2 where they cannot do what they are asked."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of sys.argv, or of a list of words."""
        warnings.simplefilter("ignore")  # of libraries on their own imports
        try:
            return super().__call__(*args, **kwargs)
        except (OSError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            for name, option in OPTIONS.items():
                line = line.replace(name, option)
            print(line, file=sys.stderr)
            sys.exit(2)


app = App(
    help="Data, models and force constants of the WSe2 compendium. Its notebooks are run by make, or in JupyterLab.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip

Trust = Annotated[bool, typer.Option("--trust-model", help="load a model that is not in data/models")]


def periodic(path: Path, reach: float) -> "Atoms":
    """Return the structure in a file that ASE reads, as periodic in all directions.

    Raises ValueError for one without a cell, and where it is not periodic but images would come closer than `reach` in A.
    """
    import ase.io

    from helpers.data import checks

    try:
        atoms = ase.io.read(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever its parsing meets
        raise ValueError(f"{path}: ASE does not read it ({type(error).__name__}: {error})") from None
    advice = "put it into a box, by ASE: atoms.center(vacuum=10)"
    if atoms.cell.rank < 3:
        raise ValueError(f"{path} has no cell in three directions, which force constants belong to: {advice}")
    for axis in range(3):
        if not atoms.pbc[axis] and (gap := checks.vacuum(atoms, axis)) < reach:
            raise ValueError(
                f"{path} is not periodic along its cell vector {axis + 1}, and the cell leaves {gap:.1f} A there, less than the "
                f"cutoff of the model, {reach:g} A, so that images would see each other: {advice}"
            )
    atoms.pbc = True
    return atoms


@app.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="IN", help="may be compressed")],
    target: Annotated[Path, typer.Argument(metavar="OUT.xyz", help="must not exist")],
    energy_key: Annotated[str, typer.Option(help="of extended XYZ, if it is not energy")] = "",
    forces_key: Annotated[str, typer.Option(help="of extended XYZ, if it is not forces")] = "",
    stress_key: Annotated[str, typer.Option(help="of extended XYZ, if it is not stress")] = "",
    blocks: Annotated[
        int, typer.Option(help="cut each file into so many blocks of frames, which a split may part")
    ] = 1,
) -> None:
    """Import labelled frames into one checked file.

    IN is VASP's ML_AB, vasprun.xml or OUTCAR, extended XYZ, or what ASE reads with energies and forces. The exit code is 3
    if frames were left out.
    """
    from helpers.data import importing

    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    if not importing.to_file(sources, target, {name: key for name, key in keys.items() if key}, blocks):
        raise typer.Exit(3)


@app.command()
def label(
    source: Annotated[Path, typer.Argument(metavar="IN.xyz")],
    target: Annotated[Path, typer.Argument(metavar="OUT.xyz")],
    processes: Annotated[int, typer.Option(help="one a core")] = 1,
    density: Annotated[float, typer.Option(help="convergence; 1e-6 for phonons")] = 1e-4,
    charge: Annotated[int, typer.Option(help="of the cell in e, on a uniform background")] = 0,
    spin: Annotated[
        bool, typer.Option("--spin", help="spin-polarised, from 1 Bohr magneton an atom")
    ] = False,
    occupations: Annotated[
        str, typer.Option(help="electrons in the states below | above the gap, like '1.5 1.5 | 0.5 0.5'")
    ] = "",
    relax: Annotated[
        str,
        typer.Option(metavar="MODEL", help="relax each frame, by steps from this model's force constants"),
    ] = "",
    trust_model: Trust = False,
) -> None:
    """Label frames with energies, forces and stresses by DFT.

    Finished frames are kept in OUT.parts/, so that a killed run goes on. The exit code is 3 if frames failed.
    """
    from helpers.data import dft

    settings = dft.Settings(density=density, charge=charge, spin=spin, occupations=occupations)
    if importlib.util.find_spec("gpaw") is None:
        raise ValueError(dft.INSTALL)
    if relax:
        relax_by_dft(source, target, settings, relax, trust_model)
        return
    failures = dft.label(source, target, settings, processes)
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        raise typer.Exit(3)


def relax_by_dft(source: Path, target: Path, settings: Any, name: str, trust_model: bool) -> None:
    """Relax the frames of `source` by DFT into `target`; a model's force constants tell the first step."""
    import ase.io
    from tqdm import tqdm

    from defectphonons import force_constants
    from helpers.data import dataset, dft
    from helpers.models import potential

    frames = ase.io.read(source, ":", format="extxyz")
    elements = {symbol for atoms in frames for symbol in atoms.symbols}
    model = potential.load(name, trust_model=trust_model, elements=tuple(sorted(elements)))
    parts = target.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    relaxed = []
    for atoms in tqdm(frames, unit="frame"):
        hessian = force_constants.analytic(atoms, 1, model, folder=parts / "model").force_constants
        relaxed.append(dft.relax(atoms, dft.Labeller(settings, parts), hessian))
    dataset.write(target, relaxed)


@app.command()
def propose(
    target: Annotated[Path, typer.Argument(metavar="OUT.xyz")],
    count: Annotated[int, typer.Option(help="frames to keep")] = 24,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="like pristine or vacancy_2x2, by its beginning; may be given again"),
    ] = None,
    substitutes: Annotated[
        bool, typer.Option("--substitutes", help="O and S on a Se site instead, all of them")
    ] = False,
) -> None:
    """Propose frames for DFT to label: those least like any that is labelled."""
    from helpers import proposing
    from helpers.data import dataset

    if substitutes:
        dataset.write(target, proposing.substituted())
    else:
        proposing.propose(target, count, tuple(kind or [""]))


@app.command()
def ship(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="results/02_training/TAG")],
    name: Annotated[str, typer.Argument(metavar="NAME")],
    start: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN_FOLDER",
            help="of a fine-tuned model: the run that it went on from; may be given again, the last first",
        ),
    ] = None,
    no_committee: Annotated[
        bool, typer.Option("--no-committee", help="of a large model it takes an hour, and can be made later")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="a model of this name")] = False,
) -> None:
    """Ship the model of a finished training to data/models."""
    from helpers.models import shipping

    path = shipping.ship(folder, name, replace=replace, start=start or [], no_committee=no_committee)
    print(f"wrote {path}")


@app.command()
def committee(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="name in data/models, or a .model file")],
    data: Annotated[str, typer.Argument(metavar="DATA.xyz", help="what it was trained on")],
    trust_model: Trust = False,
) -> None:
    """Make the committee of a model, for error bars, and write it beside its file."""
    from helpers.models import committee

    path, factor = committee.make(model, data, trust_model)
    print(f"wrote {path}: {committee.MEMBERS} members, their spread widened by {factor:.2g}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sweep(
    context: typer.Context,
    runs: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="like params/thesis.yaml")],
) -> None:
    """Run every cell, defect, strain and model of a small file (docs/cluster.md).

    Further options go to Snakemake: -n shows what would be run, --profile workflow/profiles/slurm runs it on Slurm.
    """
    words = ["-m", "snakemake", "sweep", "--config", f"sweep={runs.resolve()}", *context.args]
    os.chdir(paths.ROOT)
    os.execv(sys.executable, [sys.executable, *words])


@app.command("force-constants")
def force_constants(
    structure: Annotated[Path, typer.Argument(metavar="POSCAR", help="or another file that ASE reads")],
    model: Annotated[str, typer.Option(help="name in data/models, or the path of a .model file")],
    supercell: Annotated[
        tuple[int, int, int],
        typer.Option(help="cells along each lattice vector, in which constants are folded"),
    ] = (1, 1, 1),
    output: Annotated[Path, typer.Option("-o", "--output", help="ends in .yaml.xz, for phonopy-load")] = Path(
        "phonopy_params.yaml.xz"
    ),
    differences: Annotated[
        bool, typer.Option("--differences", help="of forces, for models without exact second derivatives")
    ] = False,
    displacement: Annotated[
        float, typer.Option(min=1e-4, max=0.1, help="in A, of each atom along +u and -u, for --differences")
    ] = 0.01,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    trust_model: Trust = False,
) -> None:
    """Compute the force constants of a relaxed crystal, sheet, defect or molecule in a box by a MACE.

    They are exact second derivatives, and written for phonopy. An interrupted run goes on where it stopped.
    """
    if min(supercell) < 1:
        raise ValueError(f"--supercell {' '.join(map(str, supercell))}: must be three numbers of 1 or more")
    if not output.name.endswith(".yaml.xz"):
        raise ValueError(f"-o {output}: must end in .yaml.xz, by which phonopy-load knows what it is")
    from defectphonons import force_constants, potentials
    from helpers.models import potential

    found = potential.load(model, device=device, trust_model=trust_model)
    atoms = periodic(structure, found.r_max)
    if unknown := set(atoms.symbols) - set(found.elements):
        raise ValueError(
            f"model {found.name} knows {', '.join(found.elements)} but not {', '.join(sorted(unknown))} of {structure}"
        )
    parts = output.with_name(f"{output.name}.parts")
    how = "finite_differences" if differences else "analytic"
    phonon = force_constants.of(atoms, supercell, found, method=how, displacement=displacement, folder=parts)
    force_constants.save(phonon, output.parent, name=output.name)
    shutil.rmtree(parts)
    residuals = force_constants.residuals(phonon)
    print(
        f"wrote {output}: between {len(atoms)} atoms and the {len(phonon.supercell)} of the supercell; "
        f"the acoustic sum rule is violated by {residuals['sum_rule']:.0e} eV/A^2"
    )
    largest = abs(potentials.evaluate(found, atoms)["forces"]).max()
    if largest > 0.01:
        print(f"{structure} is not relaxed: forces of up to {largest:.2f} eV/A", file=sys.stderr)
