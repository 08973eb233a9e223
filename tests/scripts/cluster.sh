#!/usr/bin/env bash
# cluster/*.sbatch, pbs.sh and resubmit.sh on stand-ins for Slurm, PBS and mpirun: which ends of a run are started again, by which
# call, and what is said.
# shellcheck disable=SC2016 # the plan is for the stand-ins
source "$(dirname "$0")/common.sh"
cp -r "$TANDEM_SOURCE_DIR/cluster" "$clone/"
cd "$clone"
export PATH="$work/bin:$PATH" plan="$work/plan" calls="$work/calls" clone
unset PBS_JOBID SLURM_JOB_ID SBATCH_SIGNAL TANDEM_HOME

# The launchers note their arguments and do what the next line of the plan says: shell, with the run's directory in $run.
stub "$work/bin/tandem" </dev/null
stub "$work/bin/srun" <<'END'
echo "$(basename "$0") $*" >>"$calls"
for ((i = 1; i <= $#; i++)); do [ "${!i}" != --out ] || next=$((i + 1)); done
run=${!next}
step() { mkdir -p "$run/checkpoints" && printf 'step-%08d\n' "$1" >"$run/checkpoints/latest"; }
line=$(head -1 "$plan")
sed -i 1d "$plan"
eval "$line"
END
cp "$work/bin/srun" "$work/bin/mpirun"
stub "$work/bin/scontrol" <<'END'
if [ "$1" = show ]; then
    printf 'JobId=%s JobName=tandem\n   RunTime=00:00:01 TimeLimit=%s TimeMin=N/A\n   Command=%s/cluster/slurm.sbatch a.cfg\n' "$3" "${limit:-12:00:00}" "$clone"
else
    echo "scontrol $*" >>"$calls"
fi
END
stub "$work/bin/qstat" <<'END'
printf 'Job Id: 7.host\n    Job_Name = my run\n    queue = long\n    Account_Name = sky\n    Resource_List.place = scatter\n'
printf '    Resource_List.select = 3:ncpus=8:mpiprocs=4:omp\n\tthreads=2\n    Resource_List.walltime = %s\n' "${limit:-24:00:00}"
END
stub "$work/bin/qsub" <<'END'
printf 'qsub' >>"$calls"
printf ' <%s>' "$@" >>"$calls"
echo >>"$calls"
END

# planned LINE…: for the next launches; called PATTERN, uncalled PATTERN: what was recorded since
planned() {
    printf '%s\n' "$@" >"$plan"
    : >"$calls"
}
called() { grep -qE -- "$1" "$calls" || fail_test "no call /$1/ in: $(cat "$calls" "$work/out")"; }
uncalled() { ! grep -E -- "$1" "$calls" || fail_test "a call /$1/; $(cat "$work/out")"; }

# --- Slurm: a copy of the script elsewhere, as in Slurm's spool directory ---
mkdir "$work/spool"
cp cluster/slurm.sbatch cluster/study.sbatch "$work/spool/"
train() { run "$1" env SLURM_JOB_ID=17 SLURM_SUBMIT_DIR=/ "${@:2}" bash "$work/spool/slurm.sbatch" my.cfg "$work/r" optim.lr=1e-3; }

planned 'step 5; exit 0' 'step 10; exit 3' 'exit 3' 'exit 3' 'exit 3' 'step 20; exit 3'
train 0
says "complete: $work/r"
called '^srun .* tandem train --config my.cfg --out .*/r --resume auto --set train.stall_end=true --set optim.lr=1e-3$'
train 3
says 'stopped on request at step-00000010'
called '^scontrol requeue 17$'
for idle in again again never; do # no newer checkpoint
    : >"$calls"
    SLURM_RESTART_COUNT=1 train 3
    called ' --steal-lock '
    if [ $idle = again ]; then called requeue; else uncalled requeue; fi
done
says 'not started again. Is the time limit'
train 3
called 'requeue 17'
[ "$(wc -l <"$work/r/restarts.txt")" -eq 6 ] || fail_test "$(cat "$work/r/restarts.txt")"

# a signal before the first step of a new run, before main even
rm -r "$work/r"
planned 'exit 138' 'exit 1'
train 138
called 'requeue 17'
: >"$calls"
train 1
says 'failed with exit code 1'
uncalled requeue

# memory: once more; Slurm's own words; a failing rank whose others are killed is no such thing
planned 'step 1; exit 137' 'step 2; exit 137' 'exit 0' 'echo "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0" >&2; exit 143' \
    'printf "srun: error: h1: task 0: Exited with exit code 1\nsrun: error: h2: task 1: Killed\n" >&2; exit 137'
train 137
says 'memory ran out.*train.chunk'
called requeue
: >"$calls"
train 137
says 'second time in a row'
uncalled requeue
train 0
train 137
called requeue
: >"$calls"
train 1
says 'failed with exit code 1'
uncalled requeue

# a stalled job, by its note, which is there from before in the second case
planned 'step 30; echo "rank 3 on h2" >"$run/stalled.txt"; exit 143' 'step 31; exit 143' 'echo "rank 1 on h1" >"$run/stalled.txt"; exit 4'
train 4
says 'did not answer: rank 3 on h2'
called requeue
: >"$calls"
train 143
uncalled requeue
train 4
says 'no newer checkpoint'
uncalled requeue

# time limit against the signal's lead, by the script or the environment
planned 'exit 0' 'exit 0'
train 2 limit=00:10:00
says 'time limit is 600 s, but the signal .* 600 s before'
uncalled srun
train 0 limit=00:02:00 SBATCH_SIGNAL=USR1@40
train 0 limit=1-00:00:00

# an array: its own directory, its own number; %a
planned 'step 1; exit 3' 'exit 0'
array=(SLURM_ARRAY_JOB_ID=16 SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=4)
train 3 "${array[@]}"
called "--out $work/r/2 "
called '^scontrol requeue 16_2$'
run 0 env SLURM_JOB_ID=17 SLURM_SUBMIT_DIR=/ "${array[@]}" bash "$work/spool/slurm.sbatch" my.cfg "$work/seed-%a" seed=%a
called "--out $work/seed-2 .* --set seed=2$"

# a study
planned 'mkdir -p "$run/runs/a/seed-1"; echo 1 >"$run/runs/a/seed-1/study-run.json"; exit 3' 'exit 3'
study() { run "$1" env SLURM_JOB_ID=17 SLURM_SUBMIT_DIR=/ "${array[@]}" bash "$work/spool/study.sbatch" s.cfg "$work/s"; }
study 3
called "tandem study --config s.cfg --out $work/s --only 2/4 --set train.stall_end=true$"
called '^scontrol requeue 16_2$'
says 'stopped on request at study-'
study 3
says '1 of at most 3 times'

# tandem is not there, here or elsewhere
planned 'echo "slurmstepd: error: execve(): tandem: No such file or directory" >&2; exit 2'
train 127
says 'not in the PATH of every host'
mv "$work/bin/tandem" "$work/bin/tandem.away"
run 127 env "PATH=$work/bin:/usr/bin:/bin" SLURM_JOB_ID=17 SLURM_SUBMIT_DIR=/ bash "$work/spool/slurm.sbatch" my.cfg "$work/r"
says 'tandem is not in PATH'
mv "$work/bin/tandem.away" "$work/bin/tandem"

# --- PBS: the next job has the same options and variables, with commas in all of them ---
printf 'h1\nh1\nh1\nh1\nh2\nh2\nh2\nh2\n' >"$work/nodes"
export PBS_O_WORKDIR=$clone PBS_NODEFILE=$work/nodes PBS_JOBID=7.host OMP_NUM_THREADS=2
planned 'step 1; exit 3' 'step 2; exit 3' 'exit 1'
cp cluster/pbs.sh "$work/spool/7.SC"
run 3 env "CONFIG=$work/a,b 'c.cfg" "RUN=$work/p,1" "SET=model.image.drop=[1,2] optim.lr=1e-3" bash "$work/spool/7.SC"
called "^mpirun --hostfile $work/nodes --map-by ppr:4:node:PE=2 .*--config $work/a,b 'c.cfg --out $work/p,1 .* --set model.image.drop=\[1,2\] --set optim.lr=1e-3 --set train.time_limit_minutes=1430$"
called "^qsub <-q> <long> <-A> <sky> <-N> <my run> <-l> <select=3:ncpus=8:mpiprocs=4:ompthreads=2> <-l> <place=scatter> <-l> <walltime=24:00:00> <$work/p,1/next.pbs>$"
cp "$work/p,1/next.pbs" "$work/spool/8.SC"
first=$(grep ^mpirun "$calls")
: >"$calls"
run 3 env -u CONFIG -u RUN -u SET PBS_JOBID=8.host bash "$work/spool/8.SC"
[ "$(grep ^mpirun "$calls")" = "${first/--resume auto/--resume auto --steal-lock}" ] || fail_test "the next job calls $(cat "$calls")"
called "^qsub .*next.pbs>$"
: >"$calls"
run 1 bash "$work/spool/8.SC"
uncalled qsub
run 2 env CONFIG=c RUN="$work/p" limit=00:10:00 bash "$work/spool/7.SC"
says 'the wall time is 600 s, and the run would stop 10 minutes before its end'

# --- neither ---
export PAUSE=0
planned 'step 1; exit 3' 'step 2; exit 137' 'step 3; exit 0'
run 0 cluster/resubmit.sh my.cfg "$work/n" optim.lr=1
[ "$(grep -c '^mpirun -n 2 tandem train --config my.cfg .* --set optim.lr=1$' "$calls")" -eq 3 ] || fail_test "$(cat "$calls")"
planned 'exit 3' 'exit 3' 'exit 3' 'exit 0'
HOSTS=hosts MPIRUN_OPTIONS='--map-by ppr:2:node' run 3 cluster/resubmit.sh my.cfg "$work/n"
called '^mpirun --hostfile hosts --map-by ppr:2:node tandem'
[ "$(wc -l <"$calls")" -eq 3 ] || fail_test "a loop: $(cat "$calls")"
planned 'exit 2'
run 2 cluster/resubmit.sh my.cfg "$work/n"

# It is ended by signals and by the file; mpirun gets SIGUSR1, and SIGTERM at the second time.
waits='trap "step 9; exit 3" USR1; trap "exit 1" TERM; touch "$run/up"; while true; do sleep 0.05; done'
up() { until [ -e "$work/n/up" ]; do sleep 0.05; done && rm "$work/n/up"; }
for how in TERM INT stop; do
    planned "$waits" 'exit 0'
    rm -f "$work/n/checkpoints/latest"
    env --default-signal=INT cluster/resubmit.sh my.cfg "$work/n" >"$work/out" 2>&1 &
    pid=$!
    up
    if [ $how = stop ]; then touch "$work/n/stop"; else kill -$how "$pid"; fi
    code=0
    wait "$pid" || code=$?
    [ $code -eq 3 ] || fail_test "$how: exit code $code: $(cat "$work/out")"
    says 'ended on request'
    [ "$(wc -l <"$calls")" -eq 1 ] || fail_test "$how: started again"
done
planned "${waits/step 9; exit 3/true}"
env --default-signal=INT cluster/resubmit.sh my.cfg "$work/n" >"$work/out" 2>&1 &
pid=$!
up
kill -INT "$pid"
sleep 0.2
kill -INT "$pid"
code=0
wait "$pid" || code=$?
[ $code -eq 1 ] || fail_test "twice: exit code $code: $(cat "$work/out")"

if command -v shellcheck >/dev/null; then shellcheck -x cluster/*.sh cluster/*.sbatch; fi
