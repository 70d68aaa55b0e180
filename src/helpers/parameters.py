"""Parameters of the notebooks: one model each, with ranges, units, a readable tag and a key."""

import ast
import difflib
import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from helpers import paths, records

Size = Annotated[int, Field(ge=3, le=24)]  # n of an n x n cell


def literal(value: Any) -> Any:
    """The list or dictionary that a text like '[6, 12]' means: papermill's -p passes them as text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def in_plane(strain: Any) -> float | list[float]:
    """Return a strain relative to the model's own lattice constant: biaxial, or [along x, along y] where the two differ."""
    parts = strain if isinstance(strain, (list, tuple)) else [strain]
    if len(parts) not in (1, 2) or not all(
        isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts
    ):
        raise ValueError(
            "must be a number (biaxial) or two (along x, zigzag, and along y, armchair), like [0.02, 0.0]"
        )
    if not all(-0.05 <= part <= 0.05 for part in parts):  # of NaN too
        raise ValueError("must be from -0.05 to 0.05: beyond that no model has data")
    values = [part + 0.0 for part in map(float, parts)]  # -0.0 and 0.0 are the same
    return values[0] if len(set(values)) == 1 else values


Strain = Annotated[Any, BeforeValidator(literal), AfterValidator(in_plane)]


def for_a_file(text: str) -> str:
    """`text` with only what a file's name may have; of more than 120 bytes the first, and a hash of all."""
    plain = re.sub(r"[^\w.=+-]", "", text).encode()
    first, digest = plain[:100].decode(errors="ignore"), hashlib.sha256(plain).hexdigest()[:8]
    return plain.decode() if len(plain) <= 120 else f"{first}-{digest}"


def resolved(width: float) -> float:
    """`width` in THz of what broadens a density of states; ValueError where the grid that it is drawn on is too coarse."""
    if width < 0.005:
        raise ValueError(
            "must be 0.005 THz or more: the grid of a density of states does not resolve narrower peaks"
        )
    return width


Width = Annotated[float, Field(le=1.0), AfterValidator(resolved)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # NumPy and MACE take no larger ones
Flags = Annotated[dict[str, str | bool | int | float], BeforeValidator(literal)]


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


def complaint(error: dict[str, Any]) -> str:
    """One line for one of pydantic's errors: the value, why it is refused, what to give."""
    name, value = error["loc"][0], error["input"]
    words = {
        "int_type": "must be a whole number, like 6",
        "float_type": "must be a number, like 0.02",
        "string_type": "must be text",
        "list_type": "must be a list, like [6, 12]",
        "dict_type": 'must be a dictionary, like {"lr": 0.005, "ema": False}, True and False with a capital letter',
        "too_short": f"must have at least {error.get('ctx', {}).get('min_length')} item(s)",
        "finite_number": "must be a finite number",
        "bool_type": "must be True or False, with a capital letter (papermill passes 'true' as text)",
    }
    if len(error["loc"]) > 1:  # within a list or a dictionary
        name = f"{name}[{error['loc'][1]!r}]"
    if len(error["loc"]) > 2:  # of a flag, which may be of several types
        return f"{name} = {value!r}: must be text, a finite number, or True or False"
    why = words.get(error["type"], error["msg"].replace("Input should", "must").removeprefix("Value error, "))
    return f"{name} = {value!r}: {why}"


class Run(BaseModel):
    """A notebook's parameters. Subclasses name the step."""

    # What is not finite JSON cannot hold, and so no result.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    step: ClassVar[str]
    shown: ClassVar[tuple[str, ...]] = ()  # parameters that the tag shows in a way of its own, or not at all

    @classmethod
    def of(cls, namespace: dict[str, Any]) -> Self:
        """Parameters from a notebook's `globals()`; ValueError in plain words if one is wrong.

        Names that papermill injected and this step does not know are refused.
        """
        try:
            return cls.checked(namespace)
        except (OSError, ValueError) as error:
            # IPython asks for it. In a notebook the calls in between are no help, and they hide the line that is.
            line = f"{type(error).__name__}: {error}"
            error._render_traceback_ = lambda: [line]
            raise

    @classmethod
    def checked(cls, namespace: dict[str, Any]) -> Self:
        """Return what `of` returns, and raise what it raises."""
        known = list(cls.model_fields)
        for name in injected_names(namespace):
            if name not in known:
                raise ValueError(f"unknown parameter '{name}'{suggestion(name, known)}")
        try:
            run = cls(**{name: namespace[name] for name in known if name in namespace})
        except ValidationError as error:
            raise ValueError("; ".join(dict.fromkeys(map(complaint, error.errors())))) from None
        _ = run.key  # of the files and the code as they are now, not at the end of the run
        records.READ.clear()
        return run

    @property
    def tag(self) -> str:
        """Readable name of the run, one folder under results/STEP/."""
        return for_a_file(self.full_tag)

    @property
    def full_tag(self) -> str:
        """The same, however long and whatever is in it: its beginning, and each parameter changed besides."""
        return self.beginning + "".join(
            f"_{name}={getattr(self, name)}".replace(", ", "-").replace("[", "").replace("]", "")
            for name, field in type(self).model_fields.items()
            if name not in (*self.shown, "device", "trust_model") and getattr(self, name) != field.default
        )

    @property
    def beginning(self) -> str:
        """What the tag begins with: the parameters `shown`."""
        raise NotImplementedError

    def shared(self, model: type["Run"]) -> dict[str, Any]:
        """The parameters that `model` has too."""
        return {name: getattr(self, name) for name in model.model_fields if name in type(self).model_fields}

    @property
    def folder(self) -> Path:
        """Where the run writes: results/STEP/TAG."""
        return paths.RESULTS / self.step / self.tag

    @cached_property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of each file that the run reads."""
        return {name: records.sha256(path) for name, path in self.files.items()}

    @property
    def files(self) -> dict[str, Path]:
        """Each file that the run reads."""
        return {}

    @property
    def needed(self) -> list["Run"]:
        """The runs of earlier steps whose results or files it uses."""
        return []

    @cached_property
    def key(self) -> str:
        """Hash of parameters, inputs and code that a result is valid for."""
        given = self.model_dump(exclude={"trust_model", "device", "wandb_mode"})
        return records.key(self.step, given, self.inputs)


def by_name(*files: Path) -> dict[str, Path]:
    """Return the `files` as `Run.files` has them: files of ours, whose names tell them apart."""
    return {path.name: path for path in files}


# What `helpers.models.evaluation` reads to set force constants of a model beside DFT's of the vacancy in 3 x 3.
DFT_VACANCY = (paths.REFERENCE / "monolayer.json", paths.REFERENCE / "vacancy_3x3.yaml.xz")


class WithData(Run):
    """What every notebook that reads labelled frames has in common."""

    data: str = "wse2.xyz"

    @property
    def data_name(self) -> str:
        """The file's name in data/; for any other file with the beginning of its checksum."""
        path = Path(self.data)
        return path.stem if path.name == self.data else f"{path.stem}-{self.inputs['data'][:8]}"

    @property
    def other_data(self) -> str:
        """'_NAME' for other data than the default, for a tag that begins with something else."""
        return "" if self.data == type(self).model_fields["data"].default else f"_{self.data_name}"

    @property
    def files(self) -> dict[str, Path]:
        return super().files | {"data": paths.data_file(self.data)}


class Data(WithData):
    """01_data."""

    step: ClassVar[str] = "01_data"
    shown: ClassVar[tuple[str, ...]] = ("data",)

    @property
    def beginning(self) -> str:
        return self.data_name


class Training(WithData):
    """02_training."""

    step: ClassVar[str] = "02_training"
    shown: ClassVar[tuple[str, ...]] = ("profile", "data", "wandb_mode", "flags", "foundation_model")
    profile: Literal["smoke", "small", "thesis-tuned", "thesis"] = "smoke"
    flags: Flags = {}
    foundation_model: str = ""
    trust_model: bool = False
    seed: Seed = 1
    fold: Seed = 0
    device: Literal["cpu", "cuda"] = "cpu"
    wandb_mode: Literal["offline", "online", "disabled"] = "offline"

    @property
    def beginning(self) -> str:
        return self.profile + self.other_data

    @property
    def full_tag(self) -> str:
        start = f"_from={Path(self.foundation_model).stem}" if self.foundation_model else ""
        flags = "".join(f"_{name}={value}" for name, value in sorted(self.flags.items()))
        return super().full_tag + start + flags

    @property
    def needed(self) -> list[Run]:
        return [Data(data=self.data)]

    @property
    def files(self) -> dict[str, Path]:
        shipped = [paths.MODELS / f"{name}.{suffix}" for name in paths.SHIPPED for suffix in ("json", "log")]
        ours = [path for path in (*shipped, paths.DATA / "training_choices.json") if path.is_file()]
        files = super().files | by_name(*ours)
        if self.foundation_model:
            files["foundation_model"] = paths.model_file(self.foundation_model, "foundation_model")
        return files


class WithModel(Run):
    """What every notebook that evaluates a model has in common."""

    model: str = "wse2-small"
    trust_model: bool = False
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def model_name(self) -> str:
        """The name in data/models; for any other file with the beginning of its checksum."""
        stem = Path(self.model).stem
        return stem if stem == self.model else f"{stem}-{self.inputs['model'][:8]}"

    @property
    def files(self) -> dict[str, Path]:
        return super().files | {"model": paths.model_file(self.model)}


class WithCommittee(WithModel):
    """What every notebook that computes error bars has in common."""

    committee: bool = True

    @property
    def files(self) -> dict[str, Path]:
        committee = {"committee": paths.committee_file(self.model)} if self.committee else {}
        return super().files | committee


class ModelOnData(WithModel, WithData):
    """What every notebook that sets a model beside labelled frames has in common."""

    shown: ClassVar[tuple[str, ...]] = ("model", "data")

    @property
    def beginning(self) -> str:
        return self.model_name + self.other_data


class LatticeDynamics(ModelOnData):
    """00_lattice_dynamics."""

    step: ClassVar[str] = "00_lattice_dynamics"
    chain: int = Field(default=8, ge=3, le=24)
    mesh: int = Field(default=200, ge=50, le=300)


class Evaluation(WithCommittee, ModelOnData):
    """03_evaluation."""

    step: ClassVar[str] = "03_evaluation"

    @property
    def files(self) -> dict[str, Path]:
        literature = (paths.DATA / "literature.json", paths.DATA / "foundation_models.json")
        return super().files | by_name(*sorted(paths.REFERENCE.glob("*.*")), *literature)


class OfSheet(WithModel):
    """What every notebook that computes phonons with a model has in common."""

    formula: str = "WSe2"
    lattice_constant: float = Field(default=3.32, ge=2.0, le=6.0)
    thickness: float = Field(default=3.36, ge=1.0, le=6.0)

    @field_validator("formula")
    @classmethod
    def of_a_monolayer(cls, formula: str) -> str:
        from defectphonons import structures

        structures.elements(formula)
        return formula


class Simulation(OfSheet):
    """What every notebook that computes them under one strain has in common."""

    strain: Strain = 0.0

    @property
    def compressed(self) -> bool:
        """Whether the sheet is shorter than it wants to be along some direction, so that it may buckle."""
        return min(self.strain if isinstance(self.strain, list) else [self.strain]) < 0

    def named(self, supercells: list[int], content: str) -> str:
        """Return what a tag begins with: the cells, what is in them, their strain, and the model."""
        cells = "-".join(f"{n}x{n}" for n in supercells)
        parts = self.strain if isinstance(self.strain, list) else [self.strain]
        strain = "_".join(f"{part:.2f}" if part == round(part, 2) else f"{part}" for part in parts)
        return f"{cells}_{content}_strain{strain}_{self.model_name}"


class Sampled(OfSheet):
    """What every notebook that computes them on a mesh, by the method asked for, has in common."""

    method: Literal["analytic", "finite_differences"] = "analytic"
    displacement: float = Field(default=0.01, ge=0.001, le=0.05)
    dtype: Literal["float64", "float32"] = "float64"
    mesh: int = Field(default=36, ge=1, le=200)
    smearing: Width = 0.05

    @field_validator("dtype")
    @classmethod
    def differences_need_digits(cls, dtype: str, known: ValidationInfo) -> str:
        if dtype == "float32" and known.data.get("method") == "finite_differences":
            raise ValueError(
                "is for method = 'analytic': differences of forces lose half of its seven digits; give 'float64'"
            )
        return dtype


class Pristine(WithCommittee, Sampled, Simulation):
    """04_pristine."""

    step: ClassVar[str] = "04_pristine"
    shown: ClassVar[tuple[str, ...]] = ("formula", "supercell", "strain", "model")
    supercell: Size = 6
    mesh: int = Field(default=120, ge=1, le=400)

    @property
    def beginning(self) -> str:
        return self.named([self.supercell], self.formula)

    @property
    def files(self) -> dict[str, Path]:
        reference = sorted(paths.REFERENCE.glob("pristine_*.yaml.xz"))
        return super().files | by_name(paths.DATA / "literature.json", *reference)


def known_defect(defect: str, known: ValidationInfo) -> str:
    """Return the name of a defect that a sheet of the formula can have; ValueError for another."""
    from defectphonons import structures

    if "formula" in known.data:
        structures.defect_parts(known.data["formula"], defect)
    return defect


class WithDefect(OfSheet):
    """What the notebooks on cells with one defect have in common."""

    defect: Annotated[str, AfterValidator(known_defect)] = "V_Se"


class WithStrainedDefect(WithDefect, Simulation):
    """What those under one strain have in common."""

    shown: ClassVar[tuple[str, ...]] = ("supercell", "defect", "strain", "model")

    @property
    def beginning(self) -> str:
        return self.named([self.supercell], self.defect)

    def cell(self, n: int) -> "DefectiveCell":
        """The n x n cell, with its relaxation and forces where 05 keeps them."""
        return DefectiveCell(**self.shared(DefectiveCell) | {"supercell": n})


class DefectiveCell(Sampled, WithStrainedDefect):
    """What the notebooks on one cell with one defect have in common."""

    supercell: Size = 6

    @property
    def shared_folder(self) -> Path:
        """Where relaxations and forces are kept for every notebook that asks for this cell."""
        common = self.shared(DefectiveCell)
        del common["mesh"], common["smearing"]
        return paths.RESULTS / Defect.step / DefectiveCell(**common).tag


class Defect(WithCommittee, DefectiveCell):
    """05_defect."""

    step: ClassVar[str] = "05_defect"
    committee: bool = False  # takes more than a minute
    rattle: float = Field(default=0.05, ge=0.0, le=0.2)
    seed: Seed = 1

    @property
    def files(self) -> dict[str, Path]:
        files = super().files
        checksum = records.sha256(files["model"])
        # The records of this very model say what it was trained on.
        trained_on = [
            path
            for name, record in records.registry().items()
            if record["sha256"] == checksum
            for path in (paths.MODELS / f"{name}.json", paths.DATA / record["data"]["file"])
            if path.is_file()
        ]
        return files | by_name(*DFT_VACANCY, *trained_on)


def increasing(values: list) -> list:
    """The list, if it has a value and increases from above 0; ValueError if not."""
    if not values:
        raise ValueError("must not be empty")
    if any(later <= earlier for earlier, later in zip([0, *values], values, strict=False)):
        raise ValueError("must be positive and increase")
    return values


Number = TypeVar("Number", int, float)
Increasing = Annotated[list[Number], BeforeValidator(literal), AfterValidator(increasing)]


class RadialDos(WithCommittee, DefectiveCell):
    """06_radial_dos."""

    step: ClassVar[str] = "06_radial_dos"
    committee: bool = False
    outer_radii: Increasing[float] = [4.0, 7.0, 10.0]

    @property
    def needed(self) -> list[Run]:
        return [Defect(**self.shared(DefectiveCell))]


class Comparison(Sampled, WithStrainedDefect):
    """07_comparison."""

    step: ClassVar[str] = "07_comparison"
    shown: ClassVar[tuple[str, ...]] = ("supercells", "defect", "strain", "model")
    supercells: Increasing[Annotated[Size, Field(ge=4)]] = [6, 12]  # 3 x 3 has no third shell for 06
    committee: bool = True

    @field_validator("supercells")
    @classmethod
    def sampled_alike(cls, supercells: list[int], known: ValidationInfo) -> list[int]:
        if len(supercells) < 2:
            raise ValueError("must be two cells or more, like [6, 12]")
        mesh = known.data.get("mesh")
        if mesh and any(mesh % n for n in supercells):
            raise ValueError(
                f"must divide mesh = {mesh}, or the cells are sampled at different wave vectors and differ by that"
            )
        return supercells

    @property
    def beginning(self) -> str:
        return self.named(self.supercells, self.defect)

    @property
    def needed(self) -> list[Run]:
        smallest = self.shared(DefectiveCell) | {"supercell": self.supercells[0]}
        sheet = self.shared(Pristine)
        del sheet["mesh"]  # a primitive cell needs a denser one
        runs = [Pristine(**sheet), Defect(**smallest), RadialDos(**smallest)]
        # The reference data are of one material.
        known = self.formula == type(self).model_fields["formula"].default
        return [Evaluation(**self.shared(Evaluation)), *runs] if known else runs

    @cached_property
    def inputs(self) -> dict[str, str]:
        keys = {
            run.step: run.key for run in self.needed
        }  # before the rest, which is cached even if these fail
        return super().inputs | keys

    @property
    def files(self) -> dict[str, Path]:
        return super().files | {"claims": paths.DATA / "claims.json"}


class Dilute(WithStrainedDefect):
    """08_dilute_limit."""

    step: ClassVar[str] = "08_dilute_limit"
    dtype: Literal["float64", "float32"] = "float64"
    supercell: Annotated[Size, Field(ge=6)] = 9
    radii: Annotated[Increasing[Annotated[float, Field(ge=5.0, le=60.0)]], Field(min_length=2)] = [10.0, 14.0]
    supercells: Annotated[Increasing[Annotated[Size, Field(ge=4)]], Field(min_length=1)] = [6, 12]
    sizes: Annotated[Increasing[Annotated[int, Field(ge=12, le=400)]], Field(min_length=1)] = [24, 100]
    moments: int = Field(default=1536, ge=128, le=65536)
    mesh: int = Field(default=96, ge=12, le=1000)
    broadening: Width = 0.05
    smearing: Width = 0.05
    isotope_samples: int = Field(default=8, ge=0, le=1000)
    cells_per_vacancy: Increasing[Annotated[int, Field(le=10**9)]] = [36, 144, 576, 10000]

    @property
    def files(self) -> dict[str, Path]:
        return super().files | by_name(*DFT_VACANCY) | {"claims": paths.DATA / "claims.json"}


class SeveralDefects(Simulation):
    """What the notebooks that compare isolated defects have in common."""

    dtype: Literal["float64", "float32"] = "float64"
    defects: Annotated[list[str], BeforeValidator(literal), Field(min_length=1)]
    model: str = "wse2-defects"
    supercell: Annotated[Size, Field(ge=7)] = 7
    radius: float = Field(default=11.0, ge=5.0, le=60.0)
    broadening: Width = 0.05

    @field_validator("defects")
    @classmethod
    def known_defects(cls, defects: list[str], known: ValidationInfo) -> list[str]:
        return [known_defect(defect, known) for defect in defects]

    def cell(self, defect: str) -> DefectiveCell:
        """Return the cell with that defect, with its relaxation and forces where 05 keeps them."""
        return DefectiveCell(**self.shared(DefectiveCell) | {"defect": defect})


class Defects(SeveralDefects, WithCommittee):
    """10_defects."""

    step: ClassVar[str] = "10_defects"
    shown: ClassVar[tuple[str, ...]] = ("defects", "supercell", "strain", "model")
    defects: Annotated[list[str], BeforeValidator(literal), Field(min_length=1)] = ["V_Se2", "O_Se"]
    mesh: int = Field(default=96, ge=12, le=1000)

    @property
    def beginning(self) -> str:
        return self.named([self.supercell], "-".join(self.defects))

    @property
    def files(self) -> dict[str, Path]:
        names = ("monolayer.json", "monolayer.xyz", "elements.json", "vacancy_3x3.xyz", "along_modes_3x3.xyz")
        reference = [paths.REFERENCE / name for name in names]
        return super().files | by_name(paths.DATA / "wse2.xyz", *reference)


class ActiveLearning(ModelOnData):
    """09_active_learning."""

    step: ClassVar[str] = "09_active_learning"
    shown: ClassVar[tuple[str, ...]] = ("model", "data", "proposals")
    labels: Literal["held_back", "gpaw"] = "held_back"
    proposals: str = "in_progress/extended.xyz"
    start: int = Field(default=4, ge=1, le=10**6)
    batch: int = Field(default=4, ge=1, le=10**6)
    rounds: int = Field(default=12, ge=1, le=10**6)
    committee: int = Field(default=8, ge=2, le=100)
    splits: int = Field(default=24, ge=3, le=1000)
    draws: int = Field(default=4, ge=1, le=100)

    @field_validator("proposals")
    @classmethod
    def asked_of_dft(cls, proposals: str, known: ValidationInfo) -> str:
        if known.data.get("labels") != "gpaw" and proposals != cls.model_fields["proposals"].default:
            raise ValueError("is for labels = 'gpaw': what is held back comes from data")
        return proposals

    @property
    def full_tag(self) -> str:
        return super().full_tag + (f"_{self.inputs['proposals'][:8]}" if self.labels == "gpaw" else "")

    @property
    def files(self) -> dict[str, Path]:
        if self.labels != "gpaw":
            return super().files
        return super().files | {"proposals": paths.data_file(self.proposals, "proposals")}


def one_by_one(strains: list[float]) -> list[float]:
    """Return the strains, if there is one, they increase and none is 0; ValueError if not."""
    if not strains or 0 in strains:
        raise ValueError("must have a strain, and not 0: the unstrained cell is there anyway")
    if any(later <= earlier for earlier, later in zip(strains, strains[1:], strict=False)):
        raise ValueError("must increase")
    return strains


def with_an_error(strains: list[float]) -> list[float]:
    """Return the strains, if there are three and one has both signs; ValueError if not."""
    if len(strains) < 3 or not any(-strain in strains for strain in strains):
        raise ValueError(
            "must have three strains, one of them with both signs, like [-0.02, 0.02, 0.04]: its central difference "
            "gives the slope, all together its error"
        )
    return strains


Strains = Annotated[
    list[Annotated[float, AfterValidator(in_plane)]], BeforeValidator(literal), AfterValidator(one_by_one)
]


class UnderStrain(Sampled, WithDefect):
    """11_strain."""

    step: ClassVar[str] = "11_strain"
    shown: ClassVar[tuple[str, ...]] = ("supercell", "defect", "model")
    supercell: Size = 6
    biaxial: Annotated[Strains, AfterValidator(with_an_error)] = [-0.02, 0.02, 0.04]
    uniaxial: Strains = [0.03]

    @property
    def beginning(self) -> str:
        return f"{self.supercell}x{self.supercell}_{self.defect}_{self.model_name}"

    @property
    def files(self) -> dict[str, Path]:
        return super().files | by_name(paths.DATA / "wse2.xyz", paths.DATA / "claims.json")

    def cell(self, strain: float | list[float]) -> DefectiveCell:
        """The cell under one strain, with its relaxation and forces where 05 keeps them."""
        return DefectiveCell(**self.shared(DefectiveCell) | {"strain": strain})


class Emission(SeveralDefects, WithCommittee):
    """12_emission."""

    step: ClassVar[str] = "12_emission"
    shown: ClassVar[tuple[str, ...]] = ("defects", "transition", "supercell", "strain", "model")
    defects: Annotated[list[str], BeforeValidator(literal), Field(min_length=1)] = ["V_Se2", "V_Se"]
    transition: str = "electron_attachment"
    transition_frames: str = "reference/transitions.xyz"
    sizes: Annotated[Increasing[Annotated[int, Field(ge=6, le=400)]], Field(min_length=2)] = [
        6,
        12,
        24,
        48,
        96,
    ]
    za_gaps: Annotated[list[Annotated[float, Field(ge=0.0, le=3.0)]], BeforeValidator(literal), Field(min_length=1)] = [
        0.0, 0.5, 1.0,
    ]  # fmt: skip
    steps: int = Field(default=1200, ge=50, le=10**5)
    temperatures: Annotated[
        list[Annotated[float, Field(ge=0.0, le=1000.0)]], BeforeValidator(literal), Field(min_length=1)
    ] = [4.0, 77.0, 300.0]
    zpl_width: float = Field(default=0.5, gt=0.0, le=100.0)

    @property
    def beginning(self) -> str:
        return self.named([self.supercell], f"{'-'.join(self.defects)}_{self.transition}")

    @property
    def files(self) -> dict[str, Path]:
        frames = {"transition_frames": paths.data_file(self.transition_frames, "transition_frames")}
        return super().files | by_name(*DFT_VACANCY) | frames


def default_runs() -> dict[str, Run]:
    """Every notebook's run with its defaults, by step, in their order."""
    waiting, runs = [Run], {}
    for model in waiting:
        waiting += model.__subclasses__()
        if hasattr(model, "step"):
            runs[model.step] = model()
    return dict(sorted(runs.items()))
