# shows: cluster/slurm.sbatch with a time limit that is too short for the run: signal, checkpoint, requeue, and on
# expected: the job requeues itself, goes on at its checkpoint and completes with exit code 0; no step is made twice
# limit: 200
slurm 2
link delay h2 10
SBATCH_SIGNAL=USR1@40 submit --time=1 "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=150
wait_for 90 test -e run/checkpoints/latest
stopwatch
goes_on 60 150 0
[ "$(job_says Restarts)" -ge 1 ] || fail "it was in time"
outcome "requeued $(job_says Restarts) times, complete"
