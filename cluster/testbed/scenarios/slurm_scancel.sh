# shows: scancel at any moment of a run's life: before it starts, while it loads, in its first and later steps
# expected: the job is CANCELLED and stays so; the run directory is whole or empty, and a later job goes on and completes
# limit: 200
slurm 2
link delay h2 5
for pause in 0 0.5 1 1.5 2 3 5 8; do
    submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=10000 checkpoint.every_steps=10
    sleep $pause
    on h1 scancel "$job"
    wait_for 30 job_is CANCELLED COMPLETED FAILED
    wait_for 30 all_idle 2
    job_is CANCELLED || fail "after $pause s: $(job_state)"
    [ ! -e run/checkpoints/latest ] || tandem info --verify "$shared/run" >/dev/null || fail "after $pause s: not whole"
    echo "after $pause s: $(steps run) steps, lock: $(ls run/.tandem-lock 2>/dev/null || echo none)"
done
before=$(steps run)
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" "train.steps=$((before + 10))"
wait_for 60 job_is COMPLETED FAILED
job_is COMPLETED || fail "the job after them: $(job_state)"
lost "$(made_twice tandem-*.log) steps"
outcome "cancelled 8 times, complete"
