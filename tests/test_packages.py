"""defectphonons stands alone: it imports no helpers, and its text knows nothing of notebooks, our folders and our material."""

import re
import subprocess
import sys

import pytest

from defectphonons import fingerprint

ENGINE = fingerprint.SOURCES / "defectphonons"
OURS = re.compile(r"WSe2|V_Se|V_W\b|\bSe\b|\bhelpers\b|notebook|results/|data/|\btag\b|\bthesis\b|\b0\d_\w+")


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: str(path.relative_to(ENGINE)))
def test_the_engine_knows_nothing_of_what_is_built_on_it(path):
    text = path.read_text().replace('CHALCOGENS = ("S", "Se", "Te")', "")
    assert not OURS.findall(text)


def test_the_engine_is_imported_without_the_helpers():
    program = """
import pkgutil, sys
sys.modules["helpers"] = None  # to import it is an error from here on
import defectphonons
for module in pkgutil.walk_packages(defectphonons.__path__, "defectphonons."):
    __import__(module.name)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
