# shows: cluster/slurm.sbatch with a time limit that is too short for the run: signal, checkpoint, requeue, and on
# expected: the job requeues itself, goes on at its checkpoint and completes with exit code 0; no step is made twice
# limit: 200
slurm 2
link delay h2 10
SBATCH_SIGNAL=USR1@40 submit --time=1 "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=150
wait_for 90 test -e run/checkpoints/latest
stopwatch
wait_for 60 grep -q '^resuming' "tandem-$job.log"
took
wait_for 150 job_is COMPLETED FAILED CANCELLED TIMEOUT
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(job_says Restarts)" -ge 1 ] || fail "it was in time"
[ "$(made_twice "tandem-$job.log")" -eq 0 ] || fail "steps were made twice"
outcome "requeued $(job_says Restarts) times, complete"
