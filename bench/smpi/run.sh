#!/usr/bin/env bash
# The communication of a training step in SimGrid's SMPI, beside the model of bench/scaling.py: one Markdown row per
# network and number of simulated ranks (two per node).
#   bench/smpi/run.sh [--polls N] [--networks "NAME…"] [--reduce "WAY…"] [--ranks "N…"] [option of scaling.py]…
# Needs libsimgrid-dev (scripts/install.sh bench). Computing is not done, only waited for.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

polls=16
networks="ethernet100 infiniband200"
ways="exchange"
ranks="8 16 32 64 128"
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --polls) polls=$2 && shift 2 ;;
    --networks) networks=$2 && shift 2 ;;
    --reduce) ways=$2 && shift 2 ;;
    --ranks) ranks=$2 && shift 2 ;;
    *) options+=("$1") && shift ;;
    esac
done

command -v smpicc >/dev/null || {
    echo "run.sh: smpicc not found; install libsimgrid-dev (scripts/install.sh bench)" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
smpicc -O1 -std=gnu11 -Wall -Wextra -o "$work/step_pattern" "$here/step_pattern.c"

# Bandwidth and latency as the platform says, without SMPI's corrections for one old cluster and without the
# influence of acknowledgements; algorithms as Open MPI's (Bruck for identities, a ring
# to the neighbour for features, recursive doubling for scalars).
settings=(--cfg=smpi/simulate-computation:no --cfg=smpi/host-speed:1Gf --cfg=smpi/bw-factor:0:1
    --cfg=smpi/lat-factor:0:1 --cfg=network/crosstraffic:0 --cfg=smpi/test:1e-9 --cfg=smpi/grow-injected-times:no
    --cfg=smpi/allgather:bruck --cfg=smpi/allgatherv:mpich_ring --cfg=smpi/allreduce:rdb --log=root.thresh:warning)

# Which lists are words on purpose.
# shellcheck disable=SC2206
network_list=($networks) way_list=($ways) rank_list=($ranks)
cell="model / SMPI / ratio"
echo "| network | sums | ranks | step, ms: $cell | gather, ms | reduce-scatter, ms | exposed gradient sums, ms |"
echo "|---|---|---:|---:|---:|---:|---:|"
for network in "${network_list[@]}"; do
    for way in "${way_list[@]}"; do
        for n in "${rank_list[@]}"; do
            for ((i = 0; i < n; i++)); do echo "node$((i / 2))"; done >"$work/hosts"
            python3 "$here/../scaling.py" plan --ranks "$n" --reduce "$way" "${options[@]}" >"$work/plan"
            simulated=$(smpirun -np "$n" -hostfile "$work/hosts" -platform "$here/$network.xml" "${settings[@]}" \
                "$work/step_pattern" "$work/plan" "$polls" 2>"$work/errors") || {
                cat "$work/errors" >&2
                exit 1
            }
            python3 "$here/../scaling.py" compare --ranks "$n" --reduce "$way" --network "$network" --polls "$polls" \
                --simulated "$simulated" "${options[@]}"
        done
    done
done
