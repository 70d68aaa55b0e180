"""cells.py MARK: relaxes the cells of 07 that no notebook before it has, with their force constants, and writes MARK.

07 finds them in results/. `make` does this from the beginning on, beside the notebooks that 07 waits for.
"""

import sys
from pathlib import Path

from defectphonons import caching
from helpers import defects, parameters
from helpers.models import potential

run = parameters.Comparison()
mace = potential.load(run.model)
for n in run.supercells[1:]:
    defects.defective_sheet(run.cell(n), mace)
with caching.whole_file(Path(sys.argv[1])) as temporary:
    temporary.write_text(run.key)
