# shows: a second job into the directory of one that runs
# expected: the second ends at once with one message that names the first; the first does not notice
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60
first=$job
wait_for 60 beyond run 5
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60
stopwatch
wait_for 60 job_is COMPLETED FAILED CANCELLED
took
job_is FAILED || fail "the second is $(job_state)"
grep -q "^tandem: .*in use by \`tandem train\` on h1, process" "tandem-$job.log" || fail "the second does not say why"
job=$first
wait_for 60 job_is COMPLETED FAILED CANCELLED
job_is COMPLETED || fail "the first is $(job_state)"
lost "0 steps"
outcome "the second refused, the first complete"
