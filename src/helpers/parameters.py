"""Parameters of the notebooks: one model each, with ranges, units, a readable tag and a key."""

import ast
import difflib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from helpers import paths, records

# Biaxial, relative to the model's own lattice constant; + 0.0 makes -0.0 and 0.0 the same.
Strain = Annotated[float, Field(ge=-0.05, le=0.05), AfterValidator(lambda strain: strain + 0.0)]


def injected_names(namespace: dict[str, Any]) -> list[str]:
    """Names that papermill assigned in the cell it adds after the parameters, read from `In`."""
    cells = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters")]
    return [
        target.id
        for cell in cells[-1:]
        for statement in ast.parse(cell).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]


def suggestion(name: str, known: list[str]) -> str:
    """'; did you mean ...?' if a known name is close, else the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def model_name(run: "LatticeDynamics | Evaluation | Simulation") -> str:
    """The name in data/models; for any other file with the beginning of its checksum."""
    stem = Path(run.model).stem
    return stem if stem == run.model else f"{stem}-{run.inputs['model'][:8]}"


def complaint(error: dict[str, Any]) -> str:
    """One line for one of pydantic's errors: the value, why it is refused, what to give."""
    name, value = error["loc"][0], error["input"]
    words = {
        "int_type": "must be a whole number, like 6",
        "float_type": "must be a number, like 0.02",
        "string_type": "must be text",
        "bool_type": "must be True or False, with a capital letter (papermill passes 'true' as text)",
    }
    why = words.get(error["type"], error["msg"].replace("Input should", "must").removeprefix("Value error, "))
    return f"{name} = {value!r}: {why}"


class Run(BaseModel):
    """A notebook's parameters. Subclasses name the step, and the modules that compute it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    step: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, namespace: dict[str, Any]) -> Self:
        """Parameters from a notebook's `globals()`; ValueError in plain words if one is wrong.

        Names that papermill injected and this step does not know are refused.
        """
        known = list(cls.model_fields)
        for name in injected_names(namespace):
            if name not in known:
                raise ValueError(f"unknown parameter '{name}'{suggestion(name, known)}")
        try:
            run = cls(**{name: namespace[name] for name in known if name in namespace})
        except ValidationError as error:
            raise ValueError("; ".join(complaint(each) for each in error.errors())) from None
        _ = run.key  # of the files and the code as they are now, not at the end of the run
        return run

    @property
    def tag(self) -> str:
        """Readable name of the run, one folder under results/STEP/."""
        raise NotImplementedError

    def other_than_default(self, *shown: str) -> str:
        """'_name=value' for each changed parameter that the tag does not show already."""
        return "".join(
            f"_{name}={getattr(self, name)}".replace(", ", "-").replace("[", "").replace("]", "")
            for name, field in type(self).model_fields.items()
            if name not in (*shown, "device", "trust_model") and getattr(self, name) != field.default
        )

    @property
    def folder(self) -> Path:
        """Where the run writes: results/STEP/TAG."""
        return paths.RESULTS / self.step / self.tag

    @cached_property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of each file that the run reads."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        """Hash of parameters, inputs and code that a result is valid for."""
        given = self.model_dump(exclude={"trust_model", "device", "wandb_mode"})
        return records.key(given, self.inputs, self.modules)


class Data(Run):
    """01_data."""

    step: ClassVar[str] = "01_data"
    modules: ClassVar[tuple[str, ...]] = ("dataset",)
    data: str = "wse2_gpaw.xyz"

    @property
    def tag(self) -> str:
        return self.data_name

    @property
    def data_name(self) -> str:
        """The file's name in data/; for any other file with the beginning of its checksum."""
        path = Path(self.data)
        return path.stem if path.name == self.data else f"{path.stem}-{self.inputs['data'][:8]}"

    @cached_property
    def inputs(self) -> dict[str, str]:
        return {"data": records.sha256(paths.data_file(self.data))}


class Training(Data):
    """02_training."""

    step: ClassVar[str] = "02_training"
    modules: ClassVar[tuple[str, ...]] = ("training",)
    profile: Literal["smoke", "small", "thesis"] = "smoke"
    seed: int = Field(default=1, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    wandb_mode: Literal["offline", "online", "disabled"] = "offline"

    @property
    def tag(self) -> str:
        other = "" if self.data == type(self).model_fields["data"].default else f"_{self.data_name}"
        return self.profile + other + self.other_than_default("profile", "data", "wandb_mode")

    @cached_property
    def inputs(self) -> dict[str, str]:
        shipped = [path for path in paths.MODELS.glob("*.*") if path.suffix in (".log", ".json")]
        return super().inputs | {path.name: records.sha256(path) for path in sorted(shipped)}


class LatticeDynamics(Data):
    """00_lattice_dynamics."""

    step: ClassVar[str] = "00_lattice_dynamics"
    modules: ClassVar[tuple[str, ...]] = ("phonons", "force_constants", "dataset", "structures")
    model: str = "wse2-small"
    trust_model: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    chain: int = Field(default=8, ge=3, le=24)
    mesh: int = Field(default=200, ge=50, le=300)

    @property
    def tag(self) -> str:
        data = "" if self.data == type(self).model_fields["data"].default else f"_{self.data_name}"
        return model_name(self) + data + self.other_than_default("model", "data")

    @cached_property
    def inputs(self) -> dict[str, str]:
        return super().inputs | {"model": records.sha256(paths.model_file(self.model))}


class Evaluation(Data):
    """03_evaluation."""

    step: ClassVar[str] = "03_evaluation"
    modules: ClassVar[tuple[str, ...]] = ("dataset", "relaxation", "structures", "phonons", "force_constants")
    model: str = "wse2-small"
    trust_model: bool = False
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def tag(self) -> str:
        data = "" if self.data == type(self).model_fields["data"].default else f"_{self.data_name}"
        return model_name(self) + data

    @cached_property
    def inputs(self) -> dict[str, str]:
        reference = {path.name: records.sha256(path) for path in sorted(paths.REFERENCE.glob("*.*"))}
        return super().inputs | {"model": records.sha256(paths.model_file(self.model))} | reference


class Simulation(Run):
    """What every notebook that computes phonons with a model has in common."""

    formula: str = "WSe2"
    lattice_constant: float = Field(default=3.32, ge=2.0, le=6.0)
    thickness: float = Field(default=3.36, ge=1.0, le=6.0)
    strain: Strain = 0.0
    model: str = "wse2-small"
    trust_model: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    displacement: float = Field(default=0.01, ge=0.001, le=0.05)
    mesh: int = Field(default=36, ge=1, le=200)
    smearing: float = Field(default=0.05, gt=0.0, le=1.0)

    @property
    def strain_name(self) -> str:
        return f"strain{self.strain:.2f}" if self.strain == round(self.strain, 2) else f"strain{self.strain}"

    @cached_property
    def inputs(self) -> dict[str, str]:
        return {"model": records.sha256(paths.model_file(self.model))}


class Pristine(Simulation):
    """04_pristine."""

    step: ClassVar[str] = "04_pristine"
    modules: ClassVar[tuple[str, ...]] = ("phonons", "force_constants", "relaxation", "structures")
    supercell: int = Field(default=6, ge=3, le=24)
    mesh: int = Field(default=120, ge=1, le=400)

    @property
    def tag(self) -> str:
        shown = ("formula", "supercell", "strain", "model")
        name = f"{self.supercell}x{self.supercell}_{self.formula}_{self.strain_name}_{model_name(self)}"
        return name + self.other_than_default(*shown)

    @cached_property
    def inputs(self) -> dict[str, str]:
        return super().inputs | {"literature": records.sha256(paths.DATA / "literature.json")}


class DefectiveCell(Simulation):
    """What the notebooks on a cell with one defect have in common."""

    supercell: int = Field(default=6, ge=3, le=24)
    defect: str = "V_Se"

    @property
    def tag(self) -> str:
        shown = ("supercell", "defect", "strain", "model")
        name = f"{self.supercell}x{self.supercell}_{self.defect}_{self.strain_name}_{model_name(self)}"
        return name + self.other_than_default(*shown)

    @property
    def shared_folder(self) -> Path:
        """Where relaxations and forces are kept for every notebook that asks for this cell."""
        common = {
            name: getattr(self, name)
            for name in DefectiveCell.model_fields
            if name not in ("mesh", "smearing")
        }
        return paths.RESULTS / Defect.step / DefectiveCell(**common).tag


class Defect(DefectiveCell):
    """05_defect."""

    step: ClassVar[str] = "05_defect"
    modules: ClassVar[tuple[str, ...]] = ("localisation",)
    rattle: float = Field(default=0.05, ge=0.0, le=0.2)
    seed: int = Field(default=1, ge=0)

    @cached_property
    def inputs(self) -> dict[str, str]:
        known = {path.name: records.sha256(path) for path in sorted(paths.MODELS.glob("*.json"))}
        return super().inputs | known  # they say what a model was trained on


class RadialDos(DefectiveCell):
    """06_radial_dos."""

    step: ClassVar[str] = "06_radial_dos"
    modules: ClassVar[tuple[str, ...]] = ("localisation",)
    outer_radii: list[float] = Field(default=[4.0, 7.0, 10.0], min_length=1)

    @field_validator("outer_radii")
    @classmethod
    def increasing(cls, radii: list[float]) -> list[float]:
        if any(outer <= inner for inner, outer in zip([0.0, *radii], radii, strict=False)):
            raise ValueError("must be positive and increase, like [4.0, 7.0, 10.0]")
        return radii
