"""What the notebooks share: parameters, records, data, models, figures. The physics is in `defectphonons`."""

import importlib.metadata
import json
import sys
import types

import defectphonons  # noqa: F401  sets one thread a process, before NumPy is imported

# nglview 4.0.1 asks JupyterLab for version 4.0 of its widget, but installs one that calls itself 3.1.5, and
# nothing is drawn; the release before it refuses NumPy 2.3. So it is told here which version is installed.
for _package in importlib.metadata.distributions(name="nglview"):
    for _file in _package.files or ():
        if _file.match("labextensions/nglview-js-widgets/package.json"):
            _frontend = types.ModuleType("nglview._frontend")
            _frontend.__frontend_version__ = json.loads(_file.locate().read_text())["version"]
            sys.modules.setdefault(_frontend.__name__, _frontend)
