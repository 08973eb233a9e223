#!/bin/bash
# Without a batch system: starts the run again for as long as it stops with exit code 3 (SIGUSR1, SIGTERM or
# train.time_limit_minutes), each time from its newest checkpoint.
#
#   RANKS=2 cluster/resubmit.sh conf/quickstart.cfg runs/quickstart
set -uo pipefail
config=${1:?usage: resubmit.sh CONFIG RUN_DIR}
run=${2:?usage: resubmit.sh CONFIG RUN_DIR}
while true; do
    mpirun -n "${RANKS:-2}" tandem train --config "$config" --out "$run" --resume auto
    code=$?
    [ "$code" -eq 3 ] || exit "$code"
done
