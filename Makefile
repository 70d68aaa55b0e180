# make          sets up .venv, runs every notebook with its defaults, writes results/report/index.html
# make sweep    the runs of a file: make sweep SWEEP=params/smoke.yaml; without a name the cells of the thesis
# make test     style, order of imports, pytest, and every notebook against its committed output
# make check    style, order of imports and the tests that need no model, in a minute
# make check-stale   names notebooks, figures and numbers of README that no longer follow from the code
# make crate    packs the default run with its origins as an RO-Crate, results/crate.zip
# make gpu-bundle  packs results/gpu-bundle/, to train on a machine with a GPU and without network
# make lock     renews requirements.lock and environment.yml from pyproject.toml
# make publish  renews what is committed of the default run: notebooks, figures, README's numbers

PYTHON ?= python3
SWEEP ?= params/thesis.yaml
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# Memory that a model has used for a large cell is not given back and taken anew at each step: a third of the time.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 4000000000

# A .venv that lost its Python, or that belongs to another place, is set up anew.
ifneq ($(shell test -x .venv/bin/python && cat .venv/ready 2>/dev/null),$(realpath .))
.PHONY: .venv/ready
endif

.PHONY: all sweep test check check-stale crate gpu-bundle lock publish
all: .venv/ready
	@.venv/bin/python -m snakemake --quiet progress rules host reason --workflow-profile none --cores all --nolock --rerun-incomplete --rerun-triggers params
	@echo "The report is results/report/index.html"

sweep: .venv/ready
	@.venv/bin/wse2 sweep $(SWEEP) --quiet progress rules host reason
	@echo "The results are in results/"

STYLE = .venv/bin/python -m ruff check src tests workflow benchmarks notebooks && \
	.venv/bin/python -m ruff format --check src tests workflow benchmarks && \
	.venv/bin/lint-imports --no-cache --no-logo

test: .venv/ready
	@sh workflow/test_tools.sh
	$(STYLE)
	.venv/bin/python workflow/check_stale.py
	.venv/bin/python -m pytest -n 2

check: .venv/ready
	$(STYLE)
	.venv/bin/python -m pytest -n 2 -q -m quick tests

check-stale: .venv/ready
	.venv/bin/python workflow/check_stale.py

crate: all
	.venv/bin/python workflow/crate.py results/crate.zip
	@echo "The crate is results/crate.zip"

gpu-bundle: .venv/ready
	@mkdir -p results
	.venv/bin/python workflow/gpu_bundle.py results/gpu-bundle

lock: .venv/ready
	.venv/bin/python workflow/lock.py

publish: all
	.venv/bin/python workflow/publish.py

.venv/ready: requirements.lock pyproject.toml
	@sh workflow/setup.sh $(PYTHON)
