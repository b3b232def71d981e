# make demo    from nothing to scored reviews: environment, extension, the reviews job on generated data
# make test    the tests, and at the end the ten slowest
# make soak    jobs that are killed at random moments: trainings, promotions, scoring, its workers and machines; some 30 minutes,
#              and as many as RNNFAST_SOAK_STARTS says, 1000 unless it is set, that start and end: some 3 hours more on two cores
# make faults  scorings, trainings, promotions, downloads and serve, killed at random moments: 200 times, some two hours;
#              COUNTS="scoring=5 training=3 promotion=2 serve=1" says other numbers
# make serve   Prefect's server with its UI, and a worker that runs the flows by the schedules of flows/prefect.yaml
# make lint    ruff, mypy, clang-format, and the workflows of .github against their schema
# make docs    the pages of docs/ as a site in build/docs
# make pictures  the pictures of README.md, from a real run; needs Chromium
# make bench   rnnfast beside its peers, some 25 minutes; OPTIONS="--quick" and others: OPTIONS=--help lists them
# make bench-random  random layers beside torch.nn, each that is slower; some 3 minutes; OPTIONS="--count 300 --seed 1"
# make bench-text  texts to ids and the counting of words beside their peers; RNNFAST_MIRROR must name the folder of the data
# make bench-pipeline  the whole scoring job beside a usual script and fastText; likewise, and some 20 minutes
# make bench-startup  how long the command line takes to start, some two minutes; OPTIONS=--help lists the rest
# make bench-quality  default settings on many data sets beside simple peers, some hours; RNNFAST_MIRROR must name the folder of the data
# make bench-cuda  on an NVIDIA GPU: rnnfast beside torch.nn (cuDNN), some 10 minutes; OPTIONS=--help lists the rest
# make sanitize-cuda  on an NVIDIA GPU: a short run of the kernels under compute-sanitizer
# make sanitize  C++ that runs without Python, under clang's sanitizers of memory, undefined behaviour and threads; an hour or more
# make fuzz    made-up texts for the kernel of texts, damaged files for the readers, random calls of the layers, each for
#              MINUTES, 10 unless it is set; SEED draws others
# make gpu-check  on a machine with an NVIDIA GPU, torch and nvcc, of some minutes and without a package index: builds, tests,
#              watches and measures, and leaves tables and JSON in OUT, build/gpu-check unless it is set
# make gpu-wheels  ahead of that, where there is an index: what such a machine lacks, into build/wheels, for its Python 3.12
# make hashes  hashes.txt, by which CI installs, anew from constraints.txt and the package index
# make audit   known weaknesses of what constraints.txt pins; asks pypi.org
# make sbom    a list of the parts of the environment, build/sbom.json, as CycloneDX has it
# make env     the environment in .venv and the compiled extension, no more
# make clean   takes away what the others made

PYTHON ?= python3
CXX ?= g++
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CPP_SOURCES = $(shell git ls-files --cached --others --exclude-standard 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.inl' 'csrc/*.cu' 'tests/*.cpp')

.PHONY: demo test soak faults serve lint docs pictures bench bench-random bench-text bench-pipeline bench-quality bench-startup bench-cuda sanitize sanitize-cuda fuzz gpu-check gpu-wheels hashes audit sbom env build tools clean
.DELETE_ON_ERROR:

demo: env
	$(BIN)/python -m flows reviews --dataset sample --yardstick --output runs/demo --overwrite

# One more than the two cores that it is meant for, since many tests wait for processes that they have started.
test: env
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 10

soak: env
	RNNFAST_SOAK_STARTS=$${RNNFAST_SOAK_STARTS:-1000} $(BIN)/python -m pytest -m soak -s

faults: env
	RNNFAST_FAULTS="$(COUNTS)" $(BIN)/python -m pytest -m faults -s

serve: env
	$(BIN)/python -m flows serve $(OPTIONS)

lint: env .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/clang-format --dry-run --Werror $(CPP_SOURCES)

# Offline: a warning, a broken link among the pages included, is an error.
docs: env .venv/docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

pictures: env
	$(BIN)/python -m docs.pictures

# The compiled extension serves both environments: torch is the same in them.
bench: build .venv-bench/installed
	.venv-bench/bin/python -m benchmarks $(OPTIONS)

# The peer is torch itself, so the environment of the tests will do.
bench-random: build
	$(BIN)/python -m benchmarks.random_layers $(OPTIONS)

bench-text: build .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.text $(OPTIONS)

bench-pipeline: build .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.pipeline $(OPTIONS)

bench-startup: build
	$(BIN)/python -m benchmarks.startup $(OPTIONS)

# The peers are scikit-learn's, which the flows need too.
bench-quality: build
	$(BIN)/python -m benchmarks.quality $(OPTIONS)

# The peer is torch itself, so the environment of the tests will do.
bench-cuda: build
	$(BIN)/python -m benchmarks.cuda $(OPTIONS)

sanitize: build
	$(BIN)/python tests/sanitizers.py

fuzz: build
	$(BIN)/python tests/sanitizers.py fuzz $(or $(MINUTES),10)
	PYTHONPATH=. $(BIN)/python tests/fuzz_rows.py $(or $(MINUTES),10) $(or $(SEED),0)
	PYTHONPATH=. $(BIN)/python tests/fuzz_layers.py $(or $(MINUTES),10) $(or $(SEED),0)

# Without torch's cache of memory, every tensor is an allocation whose bounds are watched.
sanitize-cuda: build
	@command -v compute-sanitizer >/dev/null || { echo "sanitize-cuda needs compute-sanitizer, a part of CUDA's toolkit" >&2; exit 1; }
	@for tool in memcheck racecheck initcheck; do \
	  echo "compute-sanitizer --tool $$tool"; \
	  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool --kernel-name kns=rnnfast --error-exitcode 1 \
	    $(BIN)/python tests/sanitized.py || exit 1; \
	done

# In no environment of its own: the machine's Python has torch, and nothing can be installed.
gpu-check:
	$(PYTHON) -m benchmarks.gpu_check --output $(or $(OUT),build/gpu-check) --wheels build/wheels

gpu-wheels: env
	$(PIP) download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
	  $(addprefix --platform manylinux,2014_x86_64 _2_17_x86_64 _2_28_x86_64) --dest build/wheels \
	  $(shell grep -E '^(pydantic|pydantic.core|annotated-types|typing-inspection|typing.extensions)==' constraints.txt)

hashes: .venv-supply/installed
	.venv-supply/bin/uv pip compile --quiet --no-deps --no-header --no-annotate --generate-hashes --python-version 3.11.9 \
	  --output-file hashes.txt constraints.txt

audit: .venv-supply/installed
	.venv-supply/bin/pip-audit --strict --disable-pip --require-hashes --requirement hashes.txt

sbom: env .venv-supply/installed
	.venv-supply/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file build/sbom.json $(BIN)/python
	@echo "build/sbom.json"

env: build

# Ninja knows what is up to date: nothing to do takes a few seconds.
build: .venv/installed
	@mkdir -p build
	@$(BIN)/python setup.py --quiet build_ext --inplace > build/log 2>&1 || { cat build/log >&2; exit 1; }

.venv/installed: pyproject.toml constraints.txt | tools
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing what constraints.txt pins into .venv (a few minutes the first time) ..."
	@test -z "$(HASHES)" || $(PIP) install --no-deps --require-hashes --requirement hashes.txt
	@$(PIP) install --constraint constraints.txt setuptools wheel ninja torch
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[flows,ray,test]'
	@touch $@

.venv/lint: pyproject.toml constraints.txt | .venv/installed
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[lint]'
	@touch $@

.venv/docs: pyproject.toml constraints.txt | .venv/installed
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@touch $@

.venv-supply/installed: | tools
	@test -x .venv-supply/bin/python || $(PYTHON) -m venv .venv-supply
	@.venv-supply/bin/python -m pip --disable-pip-version-check --quiet install uv==0.13.9 cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

.venv-bench/installed: benchmarks/requirements.txt constraints.txt | tools
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@echo "Installing the peers of benchmarks/requirements.txt into .venv-bench (a few minutes the first time) ..."
	@.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install --requirement benchmarks/requirements.txt
	@touch $@

# What pip cannot install: one sentence each, with the Debian package.
tools:
	@command -v $(PYTHON) >/dev/null || { echo "rnnfast needs Python 3.11 or later (Debian package: python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rnnfast needs Python 3.11 or later, got: $$($(PYTHON) --version)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "rnnfast needs Python's venv module (Debian package: python3-venv)" >&2; exit 1; }
	@command -v $(firstword $(CXX)) >/dev/null || { echo "rnnfast needs a C++ compiler (Debian package: g++)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { echo "rnnfast needs the Python headers (Debian package: python3-dev)" >&2; exit 1; }

clean:
	rm -rf .venv .venv-bench .venv-supply build dist runs *.egg-info rnnfast/*.so
