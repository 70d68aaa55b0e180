"""Sweeps: the runs that a small YAML file asks for, and what each needs of a machine."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from defectphonons import structures
from helpers import parameters, paths, records
from helpers.parameters import (
    Comparison,
    Defect,
    DefectiveCell,
    Increasing,
    Pristine,
    RadialDos,
    Run,
    Training,
)

PRISTINE = "pristine"


def known_defect(name: str) -> str:
    """Return `name`, if a cell of WSe2 can have it or it asks for the pristine sheet; ValueError if not."""
    if name != PRISTINE:
        structures.defect_parts("WSe2", name)
    return name


class Sweep(BaseModel):
    """Every cell with every defect, under every strain, by every model; and models to train."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    supercells: Increasing[Annotated[parameters.Size, Field(ge=4)]]  # as 07 compares them
    defects: list[Annotated[str, AfterValidator(known_defect)]] = Field(
        default=[PRISTINE, "V_Se"], min_length=1
    )
    strains: list[parameters.Strain] = Field(default=[0.0], min_length=1)
    models: list[str] = Field(default=["wse2-small"], min_length=1)
    training: list[Literal["smoke", "small", "thesis-tuned", "thesis"]] = []
    committee: bool = True
    trust_model: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    mesh: int | None = Field(default=None, ge=1, le=200)

    @property
    def sampling(self) -> int:
        """Return the q points along each axis: what is asked for, or nearest to the default of 07 what every cell divides."""
        common, default = math.lcm(*self.supercells), Comparison.model_fields["mesh"].default
        return self.mesh or max(1, round(default / common)) * common

    @property
    def runs(self) -> list[Run]:
        """Return every run, after those that it needs."""
        runs: list[Run] = [Training(profile=profile, device=self.device) for profile in self.training]
        for model in self.models:
            for strain in self.strains:
                how = {
                    "model": model,
                    "strain": strain,
                    "device": self.device,
                    "trust_model": self.trust_model,
                }
                for defect in self.defects:
                    if defect == PRISTINE:
                        runs += [
                            Pristine(supercell=n, committee=self.committee, **how) for n in self.supercells
                        ]
                        continue
                    cell = how | {"defect": defect, "mesh": self.sampling}
                    runs += [
                        kind(supercell=n, **cell) for kind in (Defect, RadialDos) for n in self.supercells
                    ]
                    if len(self.supercells) > 1:
                        runs.append(Comparison(supercells=self.supercells, committee=self.committee, **cell))
        return with_needed(runs)


def with_needed(runs: list[Run]) -> list[Run]:
    """Return `runs` and all that they need, each once and after what it needs."""
    by_folder: dict[Path, Run] = {}
    for run in runs:
        for needed in (*with_needed(run.needed), run):
            by_folder.setdefault(needed.folder, needed)
    return list(by_folder.values())


def cells(run: Run) -> list[Run]:
    """Return the runs of 05 that cache the relaxations and forces which a comparison uses too."""
    if not isinstance(run, Comparison):
        return []
    return [Defect(**run.cell(n).shared(DefectiveCell)) for n in run.supercells]


def read(path: Path) -> list[Run]:
    """Read the runs of the sweep in a YAML file. Raises ValueError in plain words if anything is wrong with it."""
    try:
        given = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(f"params/{file.name}" for file in sorted((paths.ROOT / "params").glob("*.yaml")))
        raise ValueError(f"cannot be read ({error}); shipped are {shipped}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {error}") from None
    names = list(Sweep.model_fields)
    if not isinstance(given, dict):
        raise ValueError(f"must have lines of the kind 'supercells: [6, 12]'; known: {', '.join(names)}")
    for name in given:
        if name not in names:
            raise ValueError(f"unknown name '{name}'{parameters.suggestion(str(name), names)}")
    if "supercells" not in given:
        raise ValueError("supercells is missing: give n of each n x n cell, like 'supercells: [6, 12]'")
    try:
        sweep = Sweep(**given)
        for model in sweep.models:
            if not sweep.trust_model and not is_shipped(model):
                raise ValueError(
                    f"model {model!r} has the checksum of none in data/models, and loading a model file executes code in it; "
                    "write 'trust_model: true' if you know where it comes from"
                )
            if sweep.committee:
                paths.committee_file(model)
        return sweep.runs
    except ValidationError as error:
        raise ValueError("; ".join(parameters.complaint(mistake) for mistake in error.errors())) from None
    except FileNotFoundError as error:
        raise ValueError(str(error).replace("committee = False", "'committee: false'")) from None


def is_shipped(model: str) -> bool:
    """Return whether it is a model of data/models or a copy of one. Raises FileNotFoundError without one of that name."""
    checksums = {record["sha256"] for record in records.registry().values()}
    return records.sha256(paths.model_file(model)) in checksums


def given(run: Run) -> dict[str, Any]:
    """Return the parameters that are not the notebook's defaults."""
    fields = type(run).model_fields
    return {name: value for name, value in run.model_dump().items() if value != fields[name].default}


def largest(run: Run) -> int:
    """Return n of the largest cell that a run computes; 12 where its parameters do not say."""
    return max(getattr(run, "supercells", [getattr(run, "supercell", 12)]))


def threads(run: Run) -> int:
    """Return the cores to give it: one below 9 x 9, where much of a run is no force constants and uses one core."""
    return 4 if isinstance(run, Training) or largest(run) >= 9 else 1


def memory_MB(run: Run) -> int:
    """Estimate the memory it needs: 107 atoms (6 x 6) take 2.3 GiB on two cores and 1727 (24 x 24) 4.3; dense eigenvectors grow as n^4."""
    return 4000 + 500 * threads(run) + largest(run) ** 4 // 20


def minutes(run: Run) -> int:
    """Estimate the minutes it needs: several times what two cores without a GPU take."""
    if isinstance(run, Training):
        return {"smoke": 60, "small": 6 * 60, "thesis-tuned": 12 * 60, "thesis": 24 * 60}[run.profile]
    return 60 + largest(run) ** 2


def gpus(run: Run) -> int:
    """Return the number of GPUs that it computes on."""
    return int(getattr(run, "device", "cpu") == "cuda")


def failure(run: Run, log: str) -> str:
    """Return what went wrong in one line, from papermill's log: the notebook, the cell counted as committed, the error."""
    lines = log.strip().splitlines()
    cell = re.search(r'^Exception encountered at "In \[(\d+)\]"', log, re.MULTILINE)
    if not cell:  # killed, or it did not start
        return f"stopped in notebooks/{run.step}.ipynb: {lines[-1] if lines else 'it was killed, or did not start'}"
    number = int(cell[1]) - bool(given(run))  # papermill adds a cell with the parameters
    return f"failed in notebooks/{run.step}.ipynb, In [{number}]: {lines[-1]}"
