# seedmill: `make demo` shows it at work, `make test` proves it. `make help` lists the rest.

# Variables are given on the command line, as in `make demo SEEDS=42`; the environment does not change them.
PYTHON = python3
VENV = .venv
DEMO_VENV = .venv-demo
SEEDS = 0..10 42
OUT = out
DATA = .seedmill
# Test files run side by side, each process on servers of its own.
TEST_PROCESSES = 3
# What is JavaScript, or CSS.
SCRIPTS = producer/api/page/assets examples
# Options of the benchmark, as in make bench BENCH="--quick --only demo".
BENCH =
# Where PyTorch comes from: CPU builds by default. For an NVIDIA GPU: TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH_INDEX = https://download.pytorch.org/whl/cpu

# pip compiles nothing (--no-compile); what is imported is compiled once, when it is, also where this is switched off.
export PYTHONDONTWRITEBYTECODE =

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-compile --constraint requirements/constraints.txt
TORCH := $(shell grep -m1 '^torch==' requirements/constraints.txt)

.PHONY: help demo up test test-slow test-demo test-compose torture soak bench bench-api bench-page bench-tenants bench-capacity bench-million bench-gpu train evaluate check format lock build clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/runtime  ## run the whole stack once: SEEDS="42 7 0..63" OUT=folder
	@exec $(BIN)/python -m worker demo --seeds "$(SEEDS)" --out "$(OUT)" --data "$(DATA)/demo"

up: $(VENV)/runtime  ## keep the stack running until Ctrl-C
	@exec $(BIN)/python -m worker local up --data "$(DATA)/up"

test: $(VENV)/dev  ## run the tests on a real Valkey and a real S3 server
	@$(BIN)/python -m pytest -m "not slow" --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/dev  ## run the long tests
	@$(BIN)/python -m pytest --timeout 1200 -m "slow and not docker"

test-demo: $(DEMO_VENV)/ready  ## run the tests of the Gradio demo, in a .venv-demo on top of .venv
	PATH="$(abspath $(BIN)):$$PATH" $(DEMO_VENV)/bin/python -m pytest tests/acceptance/test_gradio_demo.py

test-compose: $(VENV)/dev  ## run the tests of the containers (needs Docker; minutes)
	@$(BIN)/python -m pytest -m docker tests/acceptance/test_compose.py

torture: $(VENV)/dev  ## run the fault tests in their full form and write the loss matrix (an hour)
	@$(BIN)/python -m pytest --torture --timeout 1200 tests/acceptance/test_faults_*.py
	@$(BIN)/python -m tests.torture.matrix
	@$(BIN)/python -m tests.torture.hosts_run

soak: $(VENV)/dev  ## an hour of chaos; fails if anything is lost, or memory leaks
	@exec $(BIN)/python -m tests.torture.soak --seconds 3600 --out tests/benchmarks/results/soak.json

bench: $(VENV)/bench  ## how fast, against what people would use instead (twenty minutes); BENCH="--quick"
	@exec $(BIN)/python -m tests.benchmarks.throughput $(BENCH)

bench-api: $(VENV)/bench  ## how many callers one process of the API serves (four minutes)
	@exec $(BIN)/python -m tests.benchmarks.api

bench-page: $(VENV)/dev  ## how the page fares in a browser (two minutes; needs Chromium)
	@exec $(BIN)/python -m tests.benchmarks.page

bench-tenants: $(VENV)/dev  ## how a tenant fares beside one with far more work (three minutes)
	@exec $(BIN)/python -m tests.benchmarks.tenants

bench-capacity: $(VENV)/dev  ## what many GPUs need (a quarter of an hour); BENCH="--simulate" measures nothing again
	@exec $(BIN)/python -m tests.benchmarks.capacity $(BENCH)

bench-million: $(VENV)/dev  ## a job of a million seeds, killed half-way (fifteen minutes, 6 GB of disk)
	@exec $(BIN)/python -m tests.benchmarks.million

bench-gpu: $(VENV)/bench  ## how fast on an NVIDIA GPU (ten minutes; needs PyTorch's CUDA build)
	@exec $(BIN)/python -m tests.benchmarks.gpu $(BENCH)

train: $(VENV)/dev  ## train the demo checkpoint again, into runs/demo (hours on a CPU; goes on where it was left)
	@MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
	  $(BIN)/python -m checkpoints.train

evaluate: $(VENV)/dev  ## measure the demo checkpoint against its teacher (minutes)
	@$(BIN)/python -m checkpoints.evaluate --sheet docs/contact_sheet.jpg

check: $(VENV)/dev  ## lint, format and type checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/oxlint $(SCRIPTS)
	$(BIN)/oxfmt --check $(SCRIPTS)

format: $(VENV)/dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/oxfmt $(SCRIPTS)

build: $(VENV)/dev  ## build the producer's wheel into dist/
	$(BIN)/python -m build --wheel

lock: $(VENV)/dev  ## pin the newest versions that fit into requirements/constraints.txt (needs uv)
	echo "$(TORCH)" | uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --constraint - $(addprefix --extra ,api http otel s3) pyproject.toml $(addprefix requirements/,build.txt worker.txt local.txt flower.txt dev.txt) \
	  | grep -vE "^(nvidia-|cuda-|triton)|== '(emscripten|win32)'$$" > requirements/constraints.new
	mv requirements/constraints.new requirements/constraints.txt

clean:  ## remove .venv, .seedmill and caches; pictures and checkpoints stay
	rm -rf .venv .venv-demo .seedmill dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/python:
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) found: install Python 3.11 or newer, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is `$(PYTHON) --version`: Python 3.11 or newer is needed; set PYTHON=python3.12, say"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv could be made: install the python3-venv package"; exit 1; }
	@touch $@

# PyTorch alone is taken from its own index; everything else comes from the usual one.
$(VENV)/runtime: $(VENV)/python pyproject.toml requirements/worker.txt requirements/local.txt requirements/build.txt requirements/constraints.txt
	@echo "installing into $(VENV): $(TORCH) (about 200 MB) ..."
	@$(PIP) install --quiet --no-compile --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) $(TORCH)
	@echo "installing the rest (about 150 MB) ..."
	@$(INSTALL) --requirement requirements/build.txt
	@$(INSTALL) --requirement requirements/worker.txt --requirement requirements/local.txt \
	  --no-build-isolation --editable ".[api,http]"
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements/dev.txt requirements/flower.txt
	@$(INSTALL) --requirement requirements/dev.txt --requirement requirements/flower.txt \
	  --no-build-isolation --editable ".[api,http,otel,s3]"
	@touch $@

# celery-batches alone is installed without its dependencies, which would ask for an older Celery.
$(VENV)/bench: $(VENV)/dev requirements/bench.txt requirements/celery-batches.txt
	@$(INSTALL) --requirement requirements/bench.txt
	@$(PIP) install --quiet --no-compile --no-deps --requirement requirements/celery-batches.txt
	@touch $@

# Gradio needs older releases of some packages than the rest is tested with: they go before those of .venv here.
$(DEMO_VENV)/ready: $(VENV)/dev requirements/demo.txt
	@$(BIN)/python -m venv --clear $(DEMO_VENV)
	@site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  $(BIN)/python -c "$$site" > "`$(DEMO_VENV)/bin/python -c "$$site"`/below.pth"
	@$(DEMO_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --requirement requirements/demo.txt
	@touch $@
