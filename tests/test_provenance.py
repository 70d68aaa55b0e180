"""CITATION.cff and the RO-Crate of a run."""

import hashlib
import json
import tomllib
import zipfile

import crate
import pytest
import yaml

from helpers import execution, parameters, paths


def test_the_citation_is_of_this_version():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["authors"] == project["authors"]
    for field in ("cff-version", "message", "title", "license"):
        assert citation[field]


def test_a_crate_holds_what_was_run_on_what_and_what_came_out(tmp_path, monkeypatch):
    # Of its own: the folder of all tests has results of nbval, which leaves no executed notebook.
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setenv("WSE2_RESULTS", str(tmp_path))
    run = parameters.Data()
    execution.obtain(run)
    crate.build({run.step: run}, tmp_path / "crate.zip")
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        graph = {each["@id"]: each for each in json.loads(archive.read("ro-crate-metadata.json"))["@graph"]}
        files = [each for each in graph.values() if each["@type"] == "File"]
        for file in files:
            assert hashlib.sha256(archive.read(file["@id"])).hexdigest() == file["sha256"]
    action = graph["#01_data"]
    assert action["@type"] == "CreateAction"
    assert action["instrument"] == {"@id": "notebooks/01_data.ipynb"}
    assert {"@id": "data/wse2.xyz"} in action["object"]
    assert graph["#01_data/data"]["value"] == "wse2.xyz"
    folder = "results/01_data/wse2/"
    assert {f"{folder}result.json", f"{folder}notebook.ipynb"} <= {each["@id"] for each in action["result"]}
    assert run.key in action["description"]


def test_what_was_not_run_is_not_packed(tmp_path):
    run = parameters.Dilute(mesh=24)
    with pytest.raises(ValueError, match="no result for the present code and data. Run `make` first"):
        crate.build({run.step: run}, tmp_path / "crate.zip")
    assert not (tmp_path / "crate.zip").exists()
