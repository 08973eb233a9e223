# shows: a job of a better partition takes the hosts of a run: SIGTERM, 10 s of grace, requeue by Slurm
# expected: the run writes a checkpoint within its grace, is queued again, goes on there and completes; no step is made twice
# limit: 120
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60
wait_for 60 beyond run 10
stopwatch
on h1 sbatch --parsable --partition=high --exclusive --nodes=2 --output=/dev/null --wrap "sleep 3"
wait_for 60 grep -q '^resuming' "tandem-$job.log"
took
wait_for 60 job_is COMPLETED FAILED CANCELLED TIMEOUT PREEMPTED
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(made_twice "tandem-$job.log")" -eq 0 ] || fail "steps were made twice"
outcome "requeued, complete"
