# shows: slurmd of a host is killed; it is started again before Slurm gives the host up
# expected: the run does not notice: complete, nothing lost
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60
wait_for 60 beyond run 10
on h2 bash -c 'kill -KILL $(</run/slurmd.pid)'
stopwatch
sleep 4
on h2 slurmd
took
wait_for 60 job_is COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(job_says Restarts)" -eq 0 ] || fail "it was started again"
outcome "not noticed, complete"
