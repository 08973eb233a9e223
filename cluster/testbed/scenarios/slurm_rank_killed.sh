# shows: a rank of a Slurm job is killed (SIGKILL, as by the kernel when memory is short)
# expected: cluster/slurm.sbatch explains 137, tries once more, and the job completes
# limit: 150
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60 checkpoint.every_steps=10
wait_for 60 beyond run 25
on h2 pkill -KILL -x tandem # sees the processes of h2 only
stopwatch
wait_for 90 grep -q '^resuming' "tandem-$job.log"
took
wait_for 90 job_over
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
outcome "tried again, complete"
