# slurm.sh FOLDER PORT: one node of Slurm on loopback, with all its files in FOLDER, until standard input ends.
# Root only. It prints "ready" when it takes jobs, of whoever has SLURM_CONF=FOLDER/slurm.conf and FOLDER/bin in PATH.
set -eu
folder=$1
host=$(hostname -s)
mkdir -p "$folder/state" "$folder/spool" "$folder/bin"
head -c 128 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
cat > "$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$2
SlurmdPort=$(($2 + 1))
SlurmUser=root
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName=$host NodeAddr=127.0.0.1 $(slurmd -C | grep -o 'CPUs=[0-9]*') $(slurmd -C | grep -o 'RealMemory=[0-9]*')
PartitionName=all Nodes=ALL Default=YES
END
export SLURM_CONF="$folder/slurm.conf"
# Snakemake takes SLURM_CONF from the environment of a job before it calls srun.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
chmod +x "$folder/bin/srun"
# Jobs first: they are no children of the daemons.
trap 'scancel --quiet --user=root || true; sleep 1; kill $daemons; wait' EXIT
daemons=
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" < /dev/null > "$folder/munged.log" 2>&1 &
daemons="$daemons $!"
slurmctld -D < /dev/null > "$folder/slurmctld.log" 2>&1 &
daemons="$daemons $!"
slurmd -D < /dev/null > "$folder/slurmd.log" 2>&1 &
daemons="$daemons $!"
for _ in $(seq 3000); do  # five minutes
    sinfo --noheader --format=%T 2> /dev/null | grep -q idle && break
    sleep 0.1
done
sinfo --noheader --format=%T | grep -q idle
echo ready
cat > /dev/null
