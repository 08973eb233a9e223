# shows: a study whose four runs are shared by an array of two tasks (cluster/study.sbatch); one task is told to stop
# expected: that task alone is requeued and goes on; the study is complete, each run made once
# limit: 150
slurm 2
cat >study.cfg <<END
config = "$config";
set = ["train.steps=300", "eval.dir=$shared/data", "eval.split=train", "eval.every_epochs=20"];
seeds = [1, 2];
metrics = ["text_to_image.recall_at_1"];
axes = ( { name = "rate"; values = ( { label = "low"; set = ["optim.lr=1e-4"]; }, { label = "high"; set = ["optim.lr=1e-3"]; } ); } );
END
submit --array=1-2 --nodes=1 --ntasks-per-node=2 --output=study-%a.log "$bed/cluster/study.sbatch" "$shared/study.cfg" "$shared/study"
wait_for 60 grep -q "^step 20/" study-2.log
stopwatch
on h1 scancel --signal=USR1 "${job}_2"
wait_for 60 grep -q '^resuming' study-2.log
took
wait_for 120 job_over
lost "$(made_twice study-2.log) steps"
[ "$(job_state)" = "COMPLETED COMPLETED" ] || fail "$(job_state)"
restarts=$(on h1 scontrol show job "$job" | grep -o 'Restarts=[0-9]*' | sort | paste -sd ' ')
[ "$restarts" = "Restarts=0 Restarts=1" ] || fail "$restarts"
[ "$(find study -name study-run.json | wc -l)" -eq 4 ] || fail "$(find study -name study-run.json | wc -l) runs of 4"
outcome "one requeued, the study complete"
