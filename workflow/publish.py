"""Renews what is committed of the default run and no longer follows from it: notebooks, figures/, the tables of numbers in README and docs/numbers.md.

Notebooks and figures are those of results/. 05 and 06, whose default run has no error bars, are run a second time with
`committee = True` for them.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from pictures import FIGURES

from defectphonons import caching
from helpers import execution, fingerprint, ledger, parameters, paths, records

# STEP -> name in figures/ of the picture `committee`, which it draws with `committee = True` only
COMMITTEE = {
    "05_defect": "vacancy_modes_committee",
    "06_radial_dos": "radial_dos_committee",
}

# (what is measured, step, its place in result.json's `results`, format: {} what stands there, {spread} the errors)
NUMBERS = [
    *[
        (f"{what} of wse2-small, {kind} test frames", "02_training", f"shipped/wse2-small/{key}/rmse_{name}", form)
        for key, kind in (("total", "all"), ("vacancy_3x3", "3×3 vacancy"))
        for what, name, form in (
            ("Energy RMSE", "energy_meV_per_atom", "{:.1f} meV/atom"),
            ("Force RMSE", "force_meV_per_A", "{:.0f} meV/Å"),
        )
    ],
    ("Lattice constant of the model, relaxed", "04_pristine", "lattice_constant_A", "{:.4f} ± {spread[lattice_constant_A]:.4f} Å"),
    ("Thickness (Se–Se), relaxed", "04_pristine", "thickness_A", "{:.3f} Å"),
    *[
        (f"{irrep} at Γ in the cell of our DFT", "04_pristine", f"gamma_modes/{irrep}",
         "{0[per_cm_at_dft_geometry]:.1f} cm⁻¹, DFT {0[dft_per_cm]:.1f}")
        for irrep in ("E''", "E'", "A1'", "A2''")
    ],
    *[
        (f"Phonons at {q}, model against DFT in the same cell, mean absolute", "03_evaluation",
         f"phonon_mean_absolute_error_per_cm/{q}", "{:.1f} cm⁻¹")
        for q in "ΓMK"
    ],
    *[
        (f"Modes of the vacancy in 3×3 {part} the gap, model against DFT, mean absolute", "03_evaluation", "vacancy_modes",
         f"{{0[model][modes_{part}]:.1f}} cm⁻¹ (null model {{0[null model][modes_{part}]:.1f}}; "
         "{0[model][without_partner]} of {0[model][sets]} sets without a partner)")
        for part in ("below", "above")
    ],
    ("Redistributed spectral weight of the local DOS of the vacancy in 3×3, model against DFT", "03_evaluation", "vacancy_modes",
     "{0[model][local_dos]:.0f} % (null model {0[null model][local_dos]:.0f} %)"),
    ("Force RMSE in a 6×6 vacancy that no model was trained on", "03_evaluation", "targets/forces_vacancy_6x6", "{:.0f} meV/Å"),
    ("Targets of accuracy that are met", "03_evaluation", "targets_met", "{0[number]} of {0[of]}"),
    ("The three W of a 3×3 vacancy move inwards, DFT", "03_evaluation", "vacancy/DFT/inward_A", "{:.3f} Å"),
    ("The three W of a 3×3 vacancy move inwards, model", "03_evaluation", "vacancy/MACE/inward_A", "{:.3f} Å"),
    ("C11, relaxed ions", "03_evaluation", "sheet/C11_N_per_m", "{:.0f} N/m"),
    ("C12, relaxed ions", "03_evaluation", "sheet/C12_N_per_m", "{:.0f} N/m"),
    ("Gap between acoustic and optical branches, lower edge", "04_pristine", "acoustic_optical_gap_THz/0", "{:.2f} ± {spread[gap_THz][0]:.2f} THz"),
    ("Gap between acoustic and optical branches, upper edge", "04_pristine", "acoustic_optical_gap_THz/1", "{:.2f} ± {spread[gap_THz][1]:.2f} THz"),
    ("Violation of rotational invariance in 6×6, before correction", "04_pristine", "residuals/rotational/before", "{:.3f} eV/Å"),
    ("Exponent of the flexural branch after it (2 for a free sheet)", "04_pristine", "flexural/after/exponent", "{:.2f}"),
    ("The three W move towards the vacancy's axis by", "05_defect", "relaxation/inward_A", "{:.3f} ± {spread[inward_A]:.3f} Å"),
    ("W–W distance at the vacancy", "05_defect", "relaxation/after_A", "{:.2f} Å"),
    ("Redistributed spectral weight within 4 Å of the empty site", "06_radial_dos", "share_elsewhere/0 to 4 Å", "{:.1%} ± {spread[share_elsewhere][0 to 4 Å]:.1%}"),
    ("Redistributed spectral weight 7 to 10 Å away", "06_radial_dos", "share_elsewhere/7 to 10 Å", "{:.1%} ± {spread[share_elsewhere][7 to 10 Å]:.1%}"),
    ("Weights at a 3×3 vacancy (even: 0.15), model against DFT, root mean square", "05_defect", "against_dft", "{0[weight_rms]:.2f} ({0[pairs]} of {0[sets]} sets)"),
    ("Inequivalent atoms of V_Se in 6×6", "05_defect", "inequivalent_atoms", "{}"),
    ("Candidates for localised modes in 6×6", "05_defect", "localised_frequencies", "{}"),
    ("Redistributed spectral weight of the local DOS, 6×6 against 12×12", "07_comparison", "local_elsewhere", "{:.1%}"),
    ("Decay length of the vacancy's influence, 12×12", "07_comparison", "decay/length_A", "{:.1f} Å"),
    *[
        (f"Redistributed spectral weight of the local DOS, {n} × {n} against 100 × 100", "08_dilute_limit", f"elsewhere/{n} × {n}", "{:.1%}")
        for n in (6, 12)
    ],
    ("States gained by the isolated vacancy (exact: -3)", "08_dilute_limit", "states_gained", "{:.2f}"),
    *[
        (f"Narrowest optical resonance {irrep} of the isolated vacancy", "08_dilute_limit", f"narrowest_optical/{irrep}",
         "{0[frequency_THz]:.2f} THz (with DFT's force constants of 3×3: {0[by_dft_THz]:.2f}), {0[width_THz]:.4f} THz wide")
        for irrep in ("A2", "E")
    ],
    ("Bound state of the isolated vacancy below the optical bands", "08_dilute_limit", "bound_states/0",
     "{0[irrep]}, {0[frequency_THz]:.3f} THz, {0[from_band_THz]:.4f} THz from the band"),
    ("Elastic dipole of the vacancy", "08_dilute_limit", "elastic_dipole_eV", "{:.1f} eV"),
    ("Modes of 6×6 that are localised by 100×100, of 2 flat ones", "08_dilute_limit", "localised/count", "{}"),
    ("Statements of the thesis that hold / hold with restrictions / are not distinguishable from their criterion / do not hold, by criteria that were changed "
     "after a first count of 7 / 10 / 0 / 2 (data/README.md)", "08_dilute_limit", "verdicts",
     "{0[holds]} / {0[holds with restrictions]} / {0[not distinguishable]} / {0[fails]}"),
    ("Labels to come within 10 % of all, chosen by a committee / at random", "09_active_learning", "within_10_percent", "{0[committee][labels]:.0f} / {0[random][labels]:.0f}"),
    ("Labels that the choice saves", "09_active_learning", "labels_saved", "{0[mean]:.0f} ± {0[error]:.0f}, {0[verdict]}"),
    ("Atoms in them", "09_active_learning", "within_10_percent", "{0[committee][atoms]:.0f} / {0[random][atoms]:.0f}"),
    ("Bound state of the isolated V_Se2 in the gap", "10_defects", "defects/V_Se2/bound_states/0",
     "{0[irrep]}, {0[frequency_THz]:.2f} THz, {0[weights][local]:.2f} of it on the three W"),
    ("The same mode in 3×3, along one pattern, model / DFT", "10_defects", "defects/V_Se2/along_modes/A1' of three W",
     "{0[model_THz]:.2f} ± {0[deviation_THz]:.2f} / {0[dft_THz]:.2f} THz"),
    ("Bound states of the isolated O_Se above all bands", "10_defects", "defects/O_Se/bound_states",
     "{0[1][irrep]} {0[1][frequency_THz]:.2f} THz, {0[2][irrep]} {0[2][frequency_THz]:.2f} THz"),
    *[
        (f"{irrep} of O_Se in 3×3, along one pattern, model / DFT", "10_defects", f"defects/O_Se/along_modes/{irrep} of O",
         "{0[model_THz]:.2f} ± {0[deviation_THz]:.2f} / {0[dft_THz]:.2f} THz")
        for irrep in ("E", "A1")
    ],
    ("Shift of A2 at 6.87 THz by biaxial strain", "11_strain", "modes/5", "{0[per_cm_per_percent]:.2f} ± {0[error]:.2f} cm⁻¹ per %"),
    ("Huang–Rhys factor of electron attachment to V_Se in 3×3 by symmetric modes, from the same forces, model / DFT", "12_emission", "defects/V_Se/in_cell",
     "{0[electron_attachment, wse2-defects][forces at the ground state's minimum][S]:.2f} / "
     "{0[electron_attachment, DFT][forces at the ground state's minimum][S]:.2f}"),
    ("Huang–Rhys factor of electron attachment by symmetric modes, isolated V_Se", "12_emission", "defects/V_Se/total", "{0[S]:.2f} ± {0[error]:.2f}"),
    ("Huang–Rhys factor of electron attachment by symmetric modes, V_Se2 in 3×3, from the displacement", "12_emission",
     "defects/V_Se2/in_cell/electron_attachment, wse2-defects/displacements/S", "{:.2f}"),
    ("Jahn–Teller energy over the energy of a phonon, one electron in e of V_Se in 3×3, model / DFT", "12_emission", "defects/V_Se/of_one_partner",
     "{0[wse2-defects][linear coupling][S]:.1f} / {0[DFT][linear coupling][S]:.1f}"),
    ("The same by modes of irrep E that one electron in e drives (Jahn–Teller), isolated V_Se", "12_emission", "defects/V_Se/one_partner/96", "{0[S]:.1f}, Jahn–Teller energy {0[energy_meV]:.0f} meV"),
    ("Share of electron attachment within the sharpest peak, A1 of V_Se", "12_emission", "defects/V_Se/peaks/0", "{0[share]:.0%} at {0[meV]:.1f} meV"),
    ("Lattice constant with D3 against that without", "03_evaluation", "dispersion/all/lattice_constant_percent", "{:.1f} % apart"),
    ("States, defective minus pristine: all (exact: -3)", "05_defect", "integrated_dos/total", "{:.3f}"),
    ("States, defective minus pristine: on W (exact: 0)", "05_defect", "integrated_dos/W", "{:.3f}"),
    ("States, defective minus pristine: on Se (exact: -3)", "05_defect", "integrated_dos/Se", "{:.3f}"),
]  # fmt: skip

# The notebooks that judge statements of the thesis, each those that its results decide.
JUDGES = ("07_comparison", "08_dilute_limit", "11_strain")

# Of NUMBERS, what README shows: by the beginning of the label.
FIRST = (
    "Modes of the vacancy in 3×3", "Redistributed spectral weight of the local DOS of the vacancy in 3×3", "Force RMSE in a 6×6", "Lattice constant of the model",
    "The three W move towards", "Redistributed spectral weight of the local DOS, 6 × 6", "Narrowest optical resonance A2", "Huang–Rhys factor of electron attachment by symmetric modes, isolated V_Se", "Statements of the thesis",
)  # fmt: skip

# What check_stale compares with: key of each notebook, what it draws and prints and a checksum of its outputs; the same of
# each run for error bars; and the numbers of the pages below.
RECORD = paths.FIGURES / "published.json"
# Pages with a table of numbers -> the labels in it
PAGES = {
    "README.md": [label for label, *_ in NUMBERS if label.startswith(FIRST)],
    "docs/numbers.md": [label for label, *_ in NUMBERS],
}
BEGIN, END = "<!-- numbers: written by make publish -->\n", "<!-- end of numbers -->"


def committee_runs() -> dict[str, parameters.Run]:
    """The runs of 05 and 06 with error bars, by step."""
    runs = parameters.default_runs()
    return {step: type(runs[step])(committee=True) for step in COMMITTEE}


def pictures() -> Iterator[tuple[parameters.Run, str, str]]:
    """(run, picture, name in figures/) of every published figure."""
    runs, several = parameters.default_runs(), committee_runs()
    for source, name in FIGURES.items():
        step, picture = source.split("/")
        yield runs[step], picture, name
    for step, name in COMMITTEE.items():
        yield several[step], "committee", name


def result(run: parameters.Run) -> dict[str, Any]:
    """The run's result.json; ValueError when it is not valid for the run's key."""
    if records.load(run) is None:
        raise ValueError(f"{run.folder}: no result for the present code and data. Run `make` first")
    return json.loads((run.folder / "result.json").read_text())


def without_stderr(notebook: nbformat.NotebookNode) -> None:
    """Remove progress bars and remarks of libraries from the outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def since(origin: dict[str, str], run: parameters.Run, picture: str | None = None) -> str | None:
    """Return what has changed since a notebook, or a picture in it, was made of a run as `origin` says; None if nothing."""
    try:
        key = run.key
    except FileNotFoundError as error:  # a committee, a model or data that are not there
        return str(error)
    if origin.get("key") != key:
        return "parameters, inputs or what is computed have changed"
    if origin.get("drawing") != drawing(run, picture):
        return "what is printed or drawn has changed"
    return None


def drawing(run: parameters.Run, picture: str | None) -> str:
    """Return the fingerprint of what the notebook of a run prints and draws, or of how it draws one picture."""
    cells = records.cells(run.step)
    return fingerprint.of_picture(cells, picture) if picture else fingerprint.of_notebook(cells)


def outputs(path: Path) -> str:
    """Return a checksum of the code cells of a notebook with their outputs; its words do not count."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    kept = [[cell["source"], cell["outputs"], cell["execution_count"]] for cell in cells]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def with_outputs(step: str, executed: Path) -> nbformat.NotebookNode:
    """Return the notebook of a step as it is now, with the outputs of the same code as `executed`.

    Its words may have changed since. Parameters that `executed` was given stand after the defaults. Raises ValueError if
    the code is another.
    """
    notebook = nbformat.read(paths.NOTEBOOKS / f"{step}.ipynb", as_version=4)
    try:
        run = nbformat.read(executed, as_version=4)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        why = type(error).__name__  # nbformat's message has the whole file in it
        raise ValueError(
            f"{executed} is no notebook ({why}): run `make` again, which executes it anew"
        ) from None
    given = [cell for cell in run.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    after = next(number for number, each in enumerate(tags, 1) if "parameters" in each)
    notebook.cells[after:after] = given
    cells, others = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (notebook, run))
    if len(cells) != len(others):
        raise ValueError(f"{executed} has other cells than notebooks/{step}.ipynb: run `make` again")
    for cell, other in zip(cells, others, strict=True):
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
    without_stderr(notebook)
    return notebook


def stale_notebook(origin: dict[str, str], run: parameters.Run) -> str | None:
    """Return why the committed notebook of a run is not the one that `origin` names and the run makes; None if it is."""
    if why := since(origin, run):
        return why
    if origin["outputs"] != outputs(paths.NOTEBOOKS / f"{run.step}.ipynb"):
        return "its outputs are not those that were published: they were edited or lost"
    return None


def stale_figure(run: parameters.Run, picture: str, name: str) -> str | None:
    """Return why NAME.png and .pdf in figures/ are not what the run draws; None if they are."""
    sidecar = paths.FIGURES / f"{name}.json"
    if not sidecar.is_file():
        return "not published"
    origin = json.loads(sidecar.read_text())
    if why := since(origin, run, picture):
        return why
    files = origin["sha256"].items()
    kept = all(
        (paths.FIGURES / file).is_file() and records.sha256(paths.FIGURES / file) == checksum
        for file, checksum in files
    )
    return None if kept else "it is not the file that was published"


def publish_figure(run: parameters.Run, picture: str, name: str) -> None:
    """Copy PICTURE.png and .pdf of a run to figures/NAME, with NAME.json on where they came from."""
    checksums = {}
    for suffix in (".png", ".pdf"):
        source = run.folder / f"{picture}{suffix}"
        with caching.whole_file(paths.FIGURES / f"{name}{suffix}") as temporary:
            shutil.copyfile(source, temporary)
        checksums[f"{name}{suffix}"] = records.sha256(source)
    origin = {key: value for key, value in result(run).items() if key not in ("schema", "results")}
    records.write_json(
        paths.FIGURES / f"{name}.json", {**origin, "drawing": drawing(run, picture), "sha256": checksums}
    )


def with_error(form: str) -> bool:
    """Whether a format of NUMBERS has an error in it."""
    return "{spread" in form


def judged(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of the whole ledger, of which each of JUDGES judges a part, from the results of each step."""
    return ledger.together(*(results[step]["results"]["ledger"] for step in JUDGES))


def numbers(
    results: dict[str, dict[str, Any]], several: dict[str, dict[str, Any]] | None = None
) -> dict[str, list[str]]:
    """[value with its error and unit, step] of each of NUMBERS, by its label, from the results of each step.

    Errors are those of the committee: from `several` for the steps that are in it. Without one, the value stands alone.
    """
    verdicts = {"verdicts": ledger.counts(judged(results))}
    found = {}
    for label, step, place, form in NUMBERS:
        value = results[step]["results"] | verdicts
        for key in place.split("/"):
            value = value[int(key)] if isinstance(value, list) else value[key]
        spread = {**results, **(several or {})}[step]["results"].get("spread")
        if spread is None:
            form = re.sub(r" ± \{spread[^}]*\}", "", form)
        found[label] = [form.format(value, spread=spread), step]
    return found


def in_page(page: str) -> str:
    """Return the Markdown table between the marks of a page."""
    return (paths.ROOT / page).read_text().split(BEGIN)[1].split(END)[0]


def publish_numbers(runs: dict[str, parameters.Run]) -> None:
    """Renew the tables of PAGES, and the record of what was published."""
    several = committee_runs()
    found = numbers(*({step: result(run) for step, run in each.items()} for each in (runs, several)))
    for page, labels in PAGES.items():
        rows = [f"| {label} | {found[label][0]} | {found[label][1]} |" for label in labels]
        text = "\n".join(["| quantity | value | notebook |", "|---|---|---|", *rows]) + "\n"
        path = paths.ROOT / page
        with caching.whole_file(path) as temporary:
            temporary.write_text(path.read_text().replace(in_page(page), text))
    notebooks = {
        step: {
            "key": run.key,
            "drawing": drawing(run, None),
            "outputs": outputs(paths.NOTEBOOKS / f"{step}.ipynb"),
        }
        for step, run in runs.items()
    }
    committee = {
        step: {"key": run.key, "drawing": drawing(run, "committee")} for step, run in several.items()
    }
    records.write_json(RECORD, {"notebooks": notebooks, "committee": committee, "numbers": found})


def main() -> None:
    import check_stale  # here, for it imports this module

    if not check_stale.stale():
        print("nothing is stale")
        return
    runs, several = parameters.default_runs(), committee_runs()
    published = json.loads(RECORD.read_text())
    stale = [step for step, run in runs.items() if stale_notebook(published["notebooks"].get(step, {}), run)]
    for step, run in runs.items():
        # What is published names a revision that exists.
        if step in stale and str(result(run)["revision"]).endswith("-dirty"):
            print(f"notebooks/{step}.ipynb, once more: it was run before its code was committed", flush=True)
            execution.execute(run.step, run.folder / "notebook.ipynb", {})
    for step, run in several.items():
        if records.load(run) is None or since(published["committee"].get(step, {}), run, "committee"):
            print(f"figures/{COMMITTEE[step]}", flush=True)
            execution.execute(run.step, run.folder / "notebook.ipynb", {"committee": True})
    for step in stale:
        print(f"notebooks/{step}.ipynb", flush=True)
        notebook = with_outputs(step, runs[step].folder / "notebook.ipynb")
        with caching.whole_file(paths.NOTEBOOKS / f"{step}.ipynb") as temporary:
            nbformat.write(notebook, temporary)
    for run, picture, name in pictures():
        if stale_figure(run, picture, name):
            print(f"figures/{name}", flush=True)
            publish_figure(run, picture, name)
    publish_numbers(runs)


if __name__ == "__main__":
    main()
