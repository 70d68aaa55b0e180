"""Error bars: of models whose energies differ by a factor they are known exactly."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import parameters, paths, training

FACTORS = (1.0, 0.96, 1.04)
ROOTS = np.sqrt(FACTORS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """wse2-small with two siblings whose energies, and so force constants, are 0.96 and 1.04 times its own."""
    folder = tmp_path_factory.mktemp("committee")
    with training.quiet():
        import mace  # noqa: F401

        for number, factor in enumerate(FACTORS, start=1):
            network = torch.load(paths.model_file("wse2-small"), weights_only=False)
            network.scale_shift.scale *= factor
            name = "alike.model" if number == 1 else f"alike-{number}.model"
            torch.save(network, folder / name)
    return folder / "alike.model"


def spread(step: str, model, place, **more) -> dict:
    """`results` of the notebook with `committee = True`."""
    given = {"model": model, "trust_model": True, "committee": True, "supercell": 4} | more
    settings = [text for name, value in given.items() for text in ("-p", name, str(value))]
    subprocess.run(
        [sys.executable, "-m", "papermill", "-k", "python3", "--no-progress-bar", *settings,
         paths.NOTEBOOKS / f"{step}.ipynb", place / f"{step}.ipynb"],
        env=os.environ | {"WSE2_RESULTS": str(place)}, check=True, capture_output=True,
    )  # fmt: skip
    [path] = (place / step).glob("*_committee=True*/result.json")
    assert (path.parent / "committee.png").stat().st_size > 10000
    return json.loads(path.read_text())["results"]


def test_error_bars_follow_the_factor(model, tmp_path):
    expected = ROOTS.std(ddof=1)
    sheet = spread("04_pristine", model, tmp_path, mesh=12, supercell=3)
    assert sheet["spread"]["models"] == 3
    assert sheet["spread"]["lattice_constant_A"] < 1e-5
    for irrep, deviation in sheet["spread"]["gamma_per_cm"].items():
        assert deviation == pytest.approx(expected * sheet["gamma_modes"][irrep]["per_cm"], rel=1e-3)
    hole = spread("05_defect", model, tmp_path, mesh=8)
    assert hole["spread"]["modes"]
    for mode in hole["spread"]["modes"]:
        assert mode["frequency_deviation_THz"] == pytest.approx(expected * mode["frequency_THz"], rel=1e-3)
        assert mode["weight_deviation"] < 1e-3
        assert mode["least_overlap"] > 0.999
    assert 0.05 < hole["spread"]["local_states_elsewhere"] < 0.6
    shells = spread("06_radial_dos", model, tmp_path, mesh=8, outer_radii=[4.0, 7.0])
    assert all(0 < deviation < 0.02 for deviation in shells["spread"]["share_elsewhere"].values())


def test_a_committee_is_the_model_and_its_siblings(model, tmp_path):
    run = parameters.Defect(model=str(model), trust_model=True, committee=True)
    assert [member.model for member in run.members] == [
        str(model.with_name(f"alike-{k}.model")) for k in (2, 3)
    ]
    assert run.key != parameters.Defect(model=str(model), trust_model=True).key
    assert "committee=True" in run.tag and not any(member.committee for member in run.members)
    assert not parameters.Defect(model=str(model)).members
    alone = tmp_path / "alone.model"
    alone.write_bytes(model.read_bytes())
    (tmp_path / "alone-2.model").write_bytes(b"")
    (tmp_path / "alone-new.model").write_bytes(b"")
    assert parameters.Evaluation(model=str(model)).siblings == [
        str(model.with_name(f"alike-{k}.model")) for k in (2, 3)
    ]
    assert parameters.Evaluation(model=str(alone)).siblings == []
    with pytest.raises(
        FileNotFoundError, match="there are 1, which is no committee. Set committee = False, or train"
    ):
        _ = parameters.Defect(model=str(alone), committee=True).members
