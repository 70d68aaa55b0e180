# The compendium with everything that requirements.lock names. No test builds this file.
#
#   docker build -t wse2 .                                   CUDA wheels, as the lock has them
#   docker build -t wse2 --build-arg TORCH=cpu .             CPU wheels of the same version of PyTorch, 3 GB less
#   docker run --rm -it --gpus all -v wse2-results:/compendium/results wse2 make
#   docker run --rm -it -p 8888:8888 wse2 .venv/bin/jupyter lab --ip 0.0.0.0 --allow-root notebooks
FROM debian:bookworm-slim

ARG TORCH=cuda
ENV OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /compendium
COPY requirements.lock pyproject.toml Makefile README.md LICENSE ./
COPY workflow/setup.sh workflow/
COPY src src
RUN TORCH=$TORCH make .venv/ready && rm -rf /root/.cache
COPY . .
# What was just copied is newer than the mark of the environment, and not different from it.
RUN touch .venv/ready

CMD ["make"]
