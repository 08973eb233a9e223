# shows: slurmd of a host is killed and stays away, while the ranks of the job go on there; there is a spare host
# expected: Slurm gives the host up and puts the job back into the queue; the ranks that were left end by themselves or lose
#   their lock, and never write into the directory of the run that took it over; complete
# limit: 150
slurm 3
for host in h1 h2 h3; do link delay $host 5; done
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=100 checkpoint.every_steps=10
wait_for 60 beyond run 10
on h2 bash -c 'kill -KILL $(</run/slurmd.pid)'
stopwatch
goes_on 60 60
tandem info --verify "$shared/run" >/dev/null || fail "the run is not whole"
[ "$(steps run)" -eq 100 ] || fail "$(steps run) lines of 100 steps"
outcome "requeued on other hosts, complete"
