"""Phonons of crystals with defects from machine-learned force fields: atoms, models, matrices.

Whoever has a MACE model, or by finite differences any calculator of ASE, and a structure gets exact force constants,
spectra, and the isolated defect in a perfect lattice.
"""

import os

# One thread a process: the cells here are small, and threads that wait for each other make
# MACE and LAPACK several times slower. Set the variables yourself to override.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
