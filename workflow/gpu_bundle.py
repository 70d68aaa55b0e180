"""Packs one folder to train on a machine with a GPU and without network: wheels, helpers, data, train.py.

    python workflow/gpu_bundle.py FOLDER [--python 3.12] [--without-wheels]

The machine has Linux on x86-64 and that Python with torch (2.11 to 2.14.1), numpy and scipy; all else comes along, in the
versions and with the checksums of requirements.lock.
"""

import argparse
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("mace-torch", "phonopy", "pydantic", "dftd3", "tqdm", "ase", "spglib")
THERE = ("torch", "numpy", "scipy")  # with all that they need
FROM_SOURCE = ("python-hostlist",)  # pure Python, of which there is no wheel to fetch
PARTS = ("src", "data/reference", "data/literature.json", "data/training_choices.json", "data/wse2.xyz")
LARGEST = 60  # MiB


def closure(names: tuple[str, ...], without: set[str]) -> set[str]:
    """The packages that `names` need, directly or not, as installed here."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found | without:
            continue
        found.add(name)
        for line in importlib.metadata.distribution(name).requires or []:
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                waiting.append(required.name)
    return found


def locked(names: set[str], version: str) -> str:
    """Their entries in requirements.lock for that Python, with hashes."""
    lock = (ROOT / "requirements.lock").read_text()
    target = {"python_version": version, "python_full_version": f"{version}.0"}
    chosen = []
    for line, hashes in re.findall(r"^(\w[^\\]*) \\\n((?: +--hash=\S+(?: \\)?\n)+)", lock, re.MULTILINE):
        entry = Requirement(line)
        if entry.name in names and (entry.marker is None or entry.marker.evaluate(target)):
            chosen.append(f"{entry.name}{entry.specifier} \\\n{hashes}")
    return "".join(chosen)


def fetch(folder: Path, version: str) -> None:
    """Wheels for that Python into `folder`."""
    names = closure(NEEDED, closure(THERE, set()))
    platforms = [
        word for glibc in ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5") for word in ("--platform", f"manylinux_{glibc}_x86_64")
    ]  # fmt: skip
    platforms += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux1_x86_64"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    with tempfile.TemporaryDirectory() as place:
        for source, how in (
            (False, ["download", "--only-binary=:all:", "--python-version", version, "--implementation", "cp", *platforms]),
            (True, ["wheel"]),
        ):  # fmt: skip
            wanted = Path(place) / f"{how[0]}.txt"
            wanted.write_text(locked({name for name in names if (name in FROM_SOURCE) == source}, version))
            target = ["--dest" if how[0] == "download" else "--wheel-dir", folder]
            subprocess.run(
                [*pip, *how, "--no-deps", "--require-hashes", "-r", wanted, *target], check=True, cwd=place
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU (default: 3.12)")
    parser.add_argument("--without-wheels", action="store_true", help="for a machine that has them all")
    given = parser.parse_args()
    folder = given.folder.absolute()
    if folder.exists():
        parser.error(f"{given.folder} exists: move it away, or name another folder")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as place:
        bundle = Path(place) / folder.name
        for part in PARTS:
            source, target = ROOT / part, bundle / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, target)
        for name in ("train.py", "README.md"):
            shutil.copy(ROOT / "workflow" / "gpu" / name, bundle)
        if not given.without_wheels:
            fetch(bundle / "wheels", given.python)
        size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) / 2**20
        if size > LARGEST:
            parser.error(f"the bundle is {size:.0f} MiB, more than {LARGEST}: see which wheel has grown")
        bundle.rename(folder)
    print(f"{given.folder}: {size:.0f} MiB; README.md in it says how to train")


if __name__ == "__main__":
    main()
