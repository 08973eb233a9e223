# shows: a rank of a Slurm job is stopped (SIGSTOP) and stays so, in a run with train.stall_end
# expected: the watchdog ends the job, cluster/slurm.sbatch puts it back into the queue, and it completes
# limit: 150
slurm 2
link delay h2 10
stall_settings
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60 checkpoint.every_steps=10 $(printf "%s\n" "${stall[@]}" | grep -v -e --set)
wait_for 60 beyond run 25
on h2 pkill -STOP -x tandem # sees the processes of h2 only
stopwatch
wait_for 60 grep -q '^resuming' "tandem-$job.log"
took
wait_for 90 job_over
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
outcome "queued again, complete"
