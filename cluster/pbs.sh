#!/bin/bash
# Tandem under PBS Professional or OpenPBS: the same pattern as slurm.sbatch.
#
#   qsub -v CONFIG=conf/quickstart.cfg,RUN=runs/quickstart cluster/pbs.sh
#
#PBS -N tandem
#PBS -l select=2:ncpus=32:mpiprocs=2:ompthreads=16
#PBS -l walltime=12:00:00
#PBS -j oe
#PBS -r y
set -uo pipefail
cd "${PBS_O_WORKDIR:?run this with qsub}" || exit 1

config=${CONFIG:?set CONFIG with qsub -v CONFIG=FILE,RUN=DIR}
run=${RUN:?set RUN with qsub -v CONFIG=FILE,RUN=DIR}

# PBS sends SIGTERM only seconds before SIGKILL: let Tandem itself stop in time. Ten minutes less than the wall time above.
minutes=${MINUTES:-710}

mpirun --hostfile "$PBS_NODEFILE" --map-by "ppr:2:node:PE=${OMP_NUM_THREADS:-1}" \
    -x OMP_NUM_THREADS -x PATH -x LD_LIBRARY_PATH \
    tandem train --config "$config" --out "$run" --resume auto --set "train.time_limit_minutes=$minutes"
code=$?

if [ "$code" -eq 3 ]; then
    echo "stopped before the time limit, queued again"
    qsub -v "CONFIG=$config,RUN=$run,MINUTES=$minutes" "$0"
fi
exit "$code"
