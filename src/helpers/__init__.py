"""Helpers behind the notebooks, one idea a module; each may import those above it in this list.

paths, fingerprint, execution, structures, records, parameters, dataset, reference, potential, relaxation, hessian, layers,
force_constants, phonons, evaluation, training, localisation, ledger, figures.
"""

import importlib.metadata
import json
import os
import sys
import types

# One thread a process: the cells here are small, and threads that wait for each other make
# MACE and LAPACK several times slower. Set the variables yourself to override.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# nglview 4.0.1 asks JupyterLab for version 4.0 of its widget, but installs one that calls itself 3.1.5, and
# nothing is drawn; the release before it refuses NumPy 2.3. So it is told here which version is installed.
for _package in importlib.metadata.distributions(name="nglview"):
    for _file in _package.files or ():
        if _file.match("labextensions/nglview-js-widgets/package.json"):
            _frontend = types.ModuleType("nglview._frontend")
            _frontend.__frontend_version__ = json.loads(_file.locate().read_text())["version"]
            sys.modules.setdefault(_frontend.__name__, _frontend)
