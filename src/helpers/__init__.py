"""Helpers behind the notebooks, one idea a module; each may import those above it in this list.

paths, structures, records, parameters, dataset, reference, training, potential, relaxation, hessian,
force_constants, phonons, localisation, ledger, figures.
"""

import os

# One thread a process: the cells here are small, and threads that wait for each other make
# MACE and LAPACK several times slower. Set the variables yourself to override.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
