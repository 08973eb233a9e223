# shows: an array of three runs with cluster/slurm.sbatch; one of its tasks is told to stop
# expected: every task has a run directory of its own; the one task is requeued and goes on, the others are not; all complete
# limit: 150
slurm 3
submit --array=1-3 --nodes=1 --ntasks-per-node=2 "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=800
wait_for 60 runs 3
stopwatch
on h1 scancel --signal=USR1 "${job}_2"
wait_for 60 grep -q '^resuming' tandem-*.log
took
wait_for 120 job_over
lost "$(made_twice "tandem-$job.log") steps"
[ "$(job_state)" = "COMPLETED COMPLETED COMPLETED" ] || fail "$(job_state)"
restarts=$(on h1 scontrol show job "$job" | grep -o 'Restarts=[0-9]*' | sort | paste -sd ' ')
[ "$restarts" = "Restarts=0 Restarts=0 Restarts=1" ] || fail "$restarts"
outcome "one requeued, all complete"
