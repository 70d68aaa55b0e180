"""Load a model of data/models, or one that is trusted, after checking that it is the file it should be."""

from dataclasses import replace

from ase import Atoms

from defectphonons import potentials
from defectphonons.potentials import Potential
from helpers import paths, records
from helpers.data import dataset, splitting


def load(
    model: str,
    *,
    device: str = "cpu",
    trust_model: bool = False,
    elements: tuple[str, ...] = (),
) -> Potential:
    """The model of that name in data/models, or at that path, in float64 on `device`.

    Loading a model executes code that the file contains. So a file of data/models that has a .json must
    have the checksum in it, and any other file is refused unless its checksum is in one of these
    or `trust_model` is set.

    Raises FileNotFoundError when there is no such file, and ValueError when the file is not what
    it should be, when it does not know one of `elements`, or when `device` is not there.
    """
    path = paths.model_file(model)
    checksum = records.sha256(path)
    own = records.of_model(path) if path.parent == paths.MODELS else None
    if own and checksum != own["sha256"]:
        raise ValueError(
            f"model {path.name} has sha256 {checksum[:16]}…, but data/models/{path.stem}.json says "
            f"{own['sha256'][:16]}…: it is damaged or was exchanged; restore both from git"
        )
    registered = checksum in [record["sha256"] for record in records.registry().values()]
    if not registered and not trust_model:
        raise ValueError(
            f"model {path} (sha256 {checksum[:16]}…) has no record in data/models. Loading a model executes code "
            "that the file contains: set trust_model = True if you know where it comes from"
        )
    loaded = potentials.load(path, device=device, elements=elements, checksum=checksum)
    return replace(loaded, origin="in data/models" if registered else "NOT in data/models")


def recorded_sides(potential: Potential, frames: list[Atoms]) -> dict[str, list[Atoms]]:
    """The `frames` that trained, validated and tested a model, by its record in data/models; empty without one.

    Frames of groups that the record does not name, as of those added to the data later, are on no side.
    """
    for record in records.registry().values():
        if record["sha256"] == potential.checksum:
            return {
                side: [atoms for atoms in frames if dataset.group(atoms) in groups]
                for side, groups in record["split"].items()
            }
    return {}


def sides(potential: Potential, frames: list[Atoms]) -> tuple[dict[str, list[Atoms]], list[Atoms]]:
    """Return the frames on each side of the split of a model, and those added to the data after its training.

    By its record in data/models, if that names groups of each side among the frames; else all by the rule of 02.
    Frames with elements that the model does not know are left out.
    """
    known = dataset.of_elements(frames, potential.elements)
    recorded = recorded_sides(potential, known)
    if not recorded or not all(recorded.values()):
        parts = splitting.split(frames)
        return {side: dataset.of_elements(part, potential.elements) for side, part in parts.items()}, []
    named = {group for groups in splitting.groups_of(recorded).values() for group in groups}
    return recorded, [atoms for atoms in known if dataset.group(atoms) not in named]


def seen_groups(potential: Potential, frames: list[Atoms]) -> list[str] | None:
    """Return the groups of `frames` that trained or validated a model; None if no record of it is in data/models."""
    recorded = recorded_sides(potential, frames)
    used = [atoms for side in ("train", "validation") for atoms in recorded.get(side, [])]
    return sorted({dataset.group(atoms) for atoms in used}) if recorded else None


def training_frames(potential: Potential) -> list[Atoms] | None:
    """The frames that a model of data/models was trained on; None where they are not known here."""
    for record in records.registry().values():
        data = paths.DATA / record["data"]["file"]
        if record["sha256"] == potential.checksum and data.is_file():
            return [atoms for atoms in dataset.read(data) if dataset.group(atoms) in record["split"]["train"]]
    return None


def vacancies_trained_on(potential: Potential, formula: str) -> list[str] | None:
    """Return the species of which `training_frames` have vacancies; None where they are not known here."""
    frames = training_frames(potential)
    return None if frames is None else sorted(dataset.vacant_species(frames, formula))
