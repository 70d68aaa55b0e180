# Installs what the tests in a browser and on Slurm need, for root on Debian (a container); elsewhere they are skipped.
set -u
missing=""
for pair in chromium:chromium slurmctld:slurm-wlm munged:munge; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" > /dev/null || missing="$missing ${pair##*:}"
done
test -z "$missing" && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get -qq update 2> /dev/null \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing > /dev/null 2>&1; then
    echo "[setup] installed for the tests:$missing"
else
    echo "[setup] not installed:$missing. The tests that need them are skipped"
fi
