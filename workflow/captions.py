"""What the pictures of the default run show, and what the thesis says of its own."""

# STEP/PICTURE -> caption; the alternative text of the picture in its notebook's page too.
CAPTIONS = {
    "00_lattice_dynamics/pipeline": "From left to right: DFT data, a MACE trained and tested on them, relaxed cells, force constants, and the phonons that follow; above each box the notebooks that do it.",
    "00_lattice_dynamics/chains": "Dispersion of linear chains, with one kind of atom (one acoustic branch) and with two (an acoustic and an optical branch). Circles are computed by the helpers that compute WSe2, lines are the textbook formulas.",
    "00_lattice_dynamics/densities": "Density of states of simple lattices in one, two and three dimensions, and of a sheet that bends. At low frequencies it is flat in one dimension, linear in two, quadratic in three, and flat again for bending.",
    "01_data/labelled_data": "The DFT frames. Left: energy per atom against the size of the forces in each frame; right: the share of atoms with larger forces, by kind of cell.",
    "01_data/energies_follow_forces": "Energy difference of close frames against the work of the forces between them. The points lie on the line on which both are in eV; wrong units would move them to one of the others.",
    "02_training/learning_curves": "Validation errors of forces and energies over the epochs, for the short training of the notebook and for the shipped model. Both fall; dotted lines mark where stage two begins, with more weight on energies.",
    "03_evaluation/parity": "Left: force components of the model against DFT, on frames held back from training; they follow the diagonal. Right: the error in energy of each frame, a few meV per atom at most.",
    "03_evaluation/errors_by_distance": "Force error against the distance from the empty site, on held-back frames with a vacancy. It is largest at the vacancy and in the crowded 2×2 cell.",
    "03_evaluation/vacancy_modes": "Deviation from DFT of each mode of a vacancy in 3×3, for the model and for a null model that knows only the pristine sheet; larger symbols have more weight at the vacancy. The model lies closer.",
    "04_pristine/bands": "Nine bands along Γ–M–K–Γ, three acoustic and six optical with a gap between them, and the total density of states. Circles are DFT at Γ, M and K, which training never saw.",
    "04_pristine/projected_dos": "Density of states by element. W has most of the motion below the gap, Se most of it above; near 7.7 THz both take part.",
    "04_pristine/flexural": "The lowest branch near Γ. Before the force constants are made invariant under rotations it is imaginary; after it, it rises as q², as it must in a free sheet.",
    "04_pristine/thermal": "Heat capacity and free energy of the pristine sheet against temperature; at high temperatures the heat capacity nears 3 k_B an atom.",
    "05_defect/structure": "The relaxed vacancy from above and from the side, displacements five times enlarged: the three W next to the empty site (dashed) move towards its axis.",
    "05_defect/bands": "Bands of a 6×6 cell with one vacancy, coloured by the weight at the vacancy (three W and the Se across), with the total and the local density of states. The dark flat bands near 6.9 THz make a peak of the local density of states that the pristine sheet (dotted) lacks.",
    "05_defect/mode_weights": "Weight at the vacancy of every mode at Γ. Nine sets reach five times the weight of an even spread (dashed): candidates, of which only larger cells can say whether they are localised.",
    "06_radial_dos/radial_dos": "Density of states per atom in three shells round the empty site, with the vacancy and without. Near it peaks move, from 7 Å on hardly anything does.",
    "06_radial_dos/decay": "Share of the local states that lie elsewhere than in the pristine sheet, against the distance from the empty site, in 6×6: a decay to a floor that the images of the vacancy leave.",
    "07_comparison/bands_6x6": "A 6×6 cell with a vacancy over the pristine sheet (blue): bands, local density of states, and its difference. States move from the peak near 7.2 THz to 6.9 THz.",
    "07_comparison/bands_12x12": "The same in 12×12. The flat bands and the difference of the local densities of states are those of the small cell.",
    "07_comparison/differences": "Local density of states, defective less pristine, in both cells: the curves nearly coincide.",
    "07_comparison/modes_by_size": "What becomes of the candidates from 6×6 to 12×12: frequency, weight at the vacancy, atoms that take part. Modes that take in more atoms as the cell grows are not localised.",
    "07_comparison/decay": "Share of the local states that lie elsewhere than in the pristine sheet, against the distance from the empty site, in 12×12: the floor is lower than in 6×6 and the decay plainer.",
    "08_dilute_limit/local_dos": "Local density of states at the vacancy in cells from 6×6 to 100×100 and alone in an infinite sheet (grey), and the differences, which shrink as the cell grows.",
    "08_dilute_limit/change_of_states": "States that one vacancy adds to an infinite sheet, counted from below (top) and per THz (bottom), by symmetry. In all it takes three away, all above the gap.",
    "08_dilute_limit/modes_by_number": "The candidates of 6×6 in cells of up to 30,000 atoms. One, A2 at 6.9 THz, stays in a single eigenmode with the same atoms; the others spread.",
    "08_dilute_limit/spectral_functions": "Bands of the sheet, broadened by vacancies of four concentrations. Dark is many states; the fewer vacancies, the sharper the lines.",
    "08_dilute_limit/linewidths": "Width and lifetime that vacancies, one in 10,000 cells, give to phonons, against frequency on logarithmic axes: small for long acoustic waves, largest near 7 THz.",
    "09_active_learning/learning_curves": "Force error on held-back frames against the number of labelled frames and of atoms in them, chosen by a committee or at random, and the kinds of frame that are chosen first.",
    "09_active_learning/queries": "Fits to a function on a line with 4, 7 and 10 queried points. Active learning (top) learns all of it; Bayesian optimisation (bottom) searches its maximum and leaves the rest uncertain.",
}  # fmt: skip

# (number in the thesis, its caption, what it reads from the figure, ours or None)
THESIS = [
    ("2.1, 2.2", "Schematic illustration of a monoatomic linear chain”; “Dispersion of Diatomic Chain: Acoustic and Optical Modes", "One atom a cell has an acoustic branch alone, two have an optical one too.", "00_lattice_dynamics/chains"),
    ("2.3, 2.4", "Schematic illustration of single-photon emitter in WSe2”; “Schematic illustration of a single GNN layer", "Drawings by others, which the thesis reprints.", None),
    ("3.1", "Pipeline of the project", "From DFT data to training, evaluation and application.", "00_lattice_dynamics/pipeline"),
    ("3.2", "Comparison of active learning (a) and Bayesian optimization (b)", "The one learns the whole function, the other looks for its maximum. A drawing by others there; computed here.", "09_active_learning/queries"),
    ("4.1", "Phonon band structure and total phonon density of states of a pristine monolayer WSe2 supercell (6x6)", "Nine branches, the optical ones visibly separated from the acoustic ones.", "04_pristine/bands"),
    ("4.2", "Projected phonon DOS of W and Se atoms in a pristine 6x6 WSe2 supercell", "Low frequencies are dominated by W, high ones by Se.", "04_pristine/projected_dos"),
    ("4.3", "Illustration of a selenium vacancy in monolayer WSe2", "Where the atom is missing.", "05_defect/structure"),
    ("4.4", "Phonon band structure, total DOS and local PDOS of a 6x6 WSe2 supercell containing a Se vacancy", "Additional flat bands at mid to high frequencies.", "05_defect/bands"),
    ("4.5", "Combined phonon band structure, PDOS overlay and PDOS difference: pristine vs defective 12x12 supercell", "Flat bands, and peaks of the difference.", "07_comparison/bands_12x12"),
    ("4.6", "Radial phonon DOS of both, pristine and defective 6x6 WSe2 supercells for different distances from the Se vacancy", "The difference decreases with distance.", "06_radial_dos/radial_dos"),
]  # fmt: skip
