# Sets up .venv from requirements.lock with the Python named as $1; `make` calls it when needed.
# TORCH=cpu: without CUDA, 3 GB less to fetch, but from PyTorch's own index.
set -eu
started=$(date +%s)

if ! "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
    echo "$1 ($("$1" --version 2>&1)) will not do: this needs Python 3.11 or 3.12 with its modules venv and" \
        "ensurepip (on Debian in the package python3-venv). Name one, like this: make PYTHON=python3.12" >&2
    exit 1
fi

echo "[setup] .venv from requirements.lock; the first time this fetches about 3 GB"
# Without the mark of this place a .venv is half-finished or was moved: begin again.
{ test -x .venv/bin/python && test "$(cat .venv/ready)" = "$(pwd -P)"; } 2>/dev/null || "$1" -m venv --clear .venv
rm -f .venv/ready
# uv is pinned in the lock like everything else, so pip fetches it from there.
sed -n '/^uv==/,/[^\\]$/p' requirements.lock > .venv/uv.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
lock=requirements.lock
if [ "${TORCH:-cuda}" = cpu ]; then
    # PyTorch's wheels for CPUs, of the version in the lock, which has no hashes of them.
    lock=.venv/lock.txt
    awk '/^[a-z]/ { drop = /^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/ } !drop' requirements.lock > $lock
    .venv/bin/python -m uv pip install --quiet --python .venv/bin/python \
        --torch-backend cpu "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)"
fi
# Compiled: else every notebook would compile what it imports, for half of its start, where nothing may write into .venv.
.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-deps --compile-bytecode \
    --require-hashes --build-constraints requirements.lock -r $lock
# The place of src/ is written and read in the encoding of the locale: relative, it is plain ASCII whatever the folder is called.
LC_ALL=C.UTF-8 .venv/bin/python -m uv pip install --quiet --python .venv/bin/python \
    --offline --no-deps --no-build-isolation --editable .
for path in .venv/lib/python*/site-packages/__editable__.wse2_phonons-*.pth; do
    echo ../../../../src > "$path"
done
pwd -P > .venv/ready
echo "[setup] .venv ready: $(($(date +%s) - started)) s"
