# shows: a rank of a Slurm job is killed (SIGKILL, as by the kernel when memory is short)
# expected: cluster/slurm.sbatch explains 137, tries once more, and the job completes
# limit: 150
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60 checkpoint.every_steps=10
wait_for 60 beyond run 25
on h2 pkill -KILL -x tandem # sees the processes of h2 only
stopwatch
goes_on 90 90
outcome "tried again, complete"
