# shows: a rank of a Slurm job is stopped (SIGSTOP) and stays so, in a run with train.stall_end
# expected: the watchdog ends the job, cluster/slurm.sbatch puts it back into the queue, and it completes
# limit: 150
slurm 2
link delay h2 10
stall_settings
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60 checkpoint.every_steps=10 "${stall[@]}"
wait_for 60 beyond run 25
on h2 pkill -STOP -x tandem # sees the processes of h2 only
stopwatch
goes_on 60 90
outcome "queued again, complete"
