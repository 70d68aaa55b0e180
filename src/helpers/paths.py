"""Places of the compendium, counted from the package and never from the working directory."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = DATA / "models"
SHIPPED = (
    "wse2-small",
    "wse2-thesis",
    "wse2-defects",
)  # the models of the compendium itself; others may lie beside them
REFERENCE = DATA / "reference"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
RESULTS = Path(os.environ.get("WSE2_RESULTS", ROOT / "results")).resolve()


def data_file(data: str, parameter: str = "data") -> Path:
    """Return the file that the value `data` of a parameter names: one in data/, or a path.

    Raises FileNotFoundError when neither exists.
    """
    for path in (DATA / data, Path(os.path.expanduser(data))):
        if os.path.isfile(path):  # Path.is_file fails for a name that is too long
            return path.resolve()
    names = ", ".join(sorted(file.name for file in DATA.glob("*.xyz")))
    raise FileNotFoundError(
        f"{parameter} = {data!r}: no such file, neither in data/ (which has: {names}) nor as a path "
        f"from {Path.cwd()}. Give a name from data/ or the full path of an extended XYZ file."
    )


def model_file(model: str, parameter: str = "model") -> Path:
    """Return the file that the value `model` of a parameter names: NAME for data/models/NAME.model, or a path (with a / or .model).

    Raises FileNotFoundError when there is none.
    """
    by_path = "/" in model or model.endswith(".model")
    path = Path(os.path.expanduser(model)) if by_path else MODELS / f"{model}.model"
    if os.path.isfile(path):
        return path.resolve()
    names = ", ".join(sorted(file.stem for file in MODELS.glob("*.model"))) or "none yet"
    raise FileNotFoundError(
        f"{parameter} = {model!r}: no file {path}. "
        f"Give the name of a shipped model ({names}) or the path of a .model file."
    )


def committee_file(model: str) -> Path:
    """Return the committee beside the file that `model` names, NAME.committee.npz.

    Raises FileNotFoundError when there is none.
    """
    path = model_file(model).with_suffix(".committee.npz")
    if not path.is_file():
        raise FileNotFoundError(
            f"model = {model!r} has no committee for error bars: there is no {path.name} beside it. Set committee = False, "
            f"or make one: wse2 committee {model} DATA.xyz"
        )
    return path
