# shows: a time limit that is shorter than the time before it at which cluster/slurm.sbatch asks for the signal (ten minutes)
# expected: the script notices that the run would be stopped at once, again and again, says so and does not requeue for ever
# limit: 130
settled() { job_over || [ "$(job_says Restarts)" -ge 2 ]; }
slurm 2
link delay h2 10
submit --time=5 "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=300
stopwatch
wait_for 100 settled
took
job_over || fail "started $(job_says Restarts) times again within its first minutes"
outcome "$(job_state) after $(job_says Restarts) restarts"
