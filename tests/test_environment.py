"""pyproject.toml, requirements.lock and environment.yml agree; who needs no model imports quickly."""

import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
LOCK = (paths.ROOT / "requirements.lock").read_text()
ENVIRONMENT = (paths.ROOT / "environment.yml").read_text()
# One pin a line once its hashes are joined to it.
PINS = [line.split(" --hash=") for line in LOCK.replace("\\\n    ", "").splitlines()]


def locked(python: str, platform: str) -> dict[str, str]:
    """Version of each package that the lock gives a Python on a platform; two for one are refused."""
    here = {
        "python_version": python, "python_full_version": f"{python}.9", "sys_platform": platform,
        "platform_machine": "arm64" if platform == "darwin" else "x86_64", "implementation_name": "cpython",
    }  # fmt: skip
    chosen = [
        pin for pin in (Requirement(line) for line, *_ in PINS) if not pin.marker or pin.marker.evaluate(here)
    ]
    names = [canonicalize_name(pin.name) for pin in chosen]
    assert len(names) == len(set(names))
    return {name: str(pin.specifier).removeprefix("==") for name, pin in zip(names, chosen, strict=True)}


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_lock_satisfies_pyproject(python, platform):
    versions = locked(python, platform)
    for wanted in map(Requirement, PROJECT["dependencies"]):
        version = versions.get(canonicalize_name(wanted.name))
        assert version and wanted.specifier.contains(version), f"{wanted}: locked is {version}; run make lock"


def test_every_pin_is_exact_and_hashed():
    for line, *hashes in PINS:
        assert [specifier.operator for specifier in Requirement(line).specifier] == ["=="], line
        assert hashes and all(each.strip().startswith("sha256:") for each in hashes), line


def test_no_addresses():
    for text in (LOCK, ENVIRONMENT, (paths.ROOT / "pyproject.toml").read_text()):
        assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_environment_points_to_the_lock():
    python, pip, packages = yaml.safe_load(ENVIRONMENT)["dependencies"]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python=") + ".0")
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.lock"]}


def test_who_reads_data_or_draws_pictures_does_not_wait_for_pytorch():
    program = "import sys; from defectphonons import localisation; from helpers.data import dataset; from helpers.figures import evaluation, style; from helpers.models import evaluation, training; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
