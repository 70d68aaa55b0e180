"""Renews requirements.lock, for Python 3.11 and 3.12, and environment.yml from pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = """# The same packages by conda; then `pip install --no-deps --no-build-isolation -e .`
name: wse2-phonons
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
      - -r requirements.lock
"""

subprocess.run(
    [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--upgrade", "--quiet",
     "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header",
     "--no-emit-index-url", "--no-emit-find-links", "--output-file", "requirements.lock"],
    cwd=ROOT, check=True,
)  # fmt: skip
(ROOT / "environment.yml").write_text(ENVIRONMENT)
