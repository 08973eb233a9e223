#!/usr/bin/env bash
# The first process of a bed, in namespaces of its own: everything in them ends with it. Runs one scenario, which is a file
# of shell that uses the functions below; README.md lists them.
#   bed.sh SCENARIO-FILE
# From run.sh: $root (the sources), $cache, $bed (an empty directory; a tmpfs is mounted on it in this namespace), $layers
# (unpacked packages), $data (what every scenario finds in $shared), $tandem, $result (a directory for what is said), $limit (seconds), $keep.
# shellcheck disable=SC2317 # functions that scenarios call
set -euo pipefail
: "${root:?}" "${cache:?}" "${bed:?}" "${layers:?}" "${data:?}" "${tandem:?}" "${result:?}" "${limit:?}"

# --- what a scenario says -------------------------------------------------------------------------------------------

# outcome WORDS…: what happened, in a few words
outcome() { echo "$*" >"$result/outcome"; }
# lost WORDS…: work that had to be done again or is gone
lost() { echo "$*" >"$result/lost"; }
# stopwatch / took: seconds between the two, such as from a fault to its end
stopwatch() { started=$EPOCHREALTIME; }
took() { awk "BEGIN { printf \"%.1f s\", $EPOCHREALTIME - $started }" >"$result/took"; }
# fail WORDS…: the scenario did not come out as it should
fail() {
    echo "$*" >"$result/fault"
    echo "FAILED: $*" >&2
    exit 1
}
# wait_for SECONDS COMMAND…: until the command succeeds
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "not within its time: $*"
        sleep 0.05
    done
}

# --- hosts ----------------------------------------------------------------------------------------------------------

# on HOST COMMAND…: runs a command in a host, not over the network
on() {
    local process
    process=$(<"$shared/.hosts/$1")
    shift
    nsenter --target "$process" --all --root --wd "$@"
}
# hosts N: brings up h1 to hN, at the addresses 10.77.0.1 to N
hosts() {
    local number
    for number in $(seq "$1"); do begin_host "h$number"; done
    for number in $(seq "$1"); do wait_for 20 test -s "$shared/.hosts/h$number"; done
}
# begin_host NAME: host_up without waiting
begin_host() {
    local name=$1 number=${1#h} process
    rm -f "$shared/.hosts/$name"
    unshare --uts --ipc --net --mount --pid --fork --kill-child --propagation private "$here/host.sh" "$name" "$number" 9>&- &
    process=$!
    until [ "$(readlink "/proc/$process/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
    echo "add $number $process" >&9
    echo "$process" >"$bed/hosts.$name"
}
# host_up NAME / host_down NAME: switches a host on, again too, and off without a warning; what it had on its own disk is kept
host_up() {
    begin_host "$1"
    wait_for 20 test -s "$shared/.hosts/$1"
}
host_down() {
    local process
    process=$(<"$shared/.hosts/$1")
    rm -f "$shared/.hosts/$1"
    kill -KILL "$process"
    while kill -0 "$process" 2>/dev/null; do sleep 0.01; done
}
# link cut|join HOST, link delay HOST MS, link loss HOST PERCENT: the cable of a host
link() { echo "$1 ${2#h} ${3:-}" >&9; }
# private HOST DIR: gives a host its own, empty directory in the place of $shared/DIR
private() { on "$1" mount -t tmpfs tmpfs "$shared/$2"; }

# --- runs -----------------------------------------------------------------------------------------------------------

# mpi HOSTS COMMAND…: mpirun on h1; HOSTS as "h1:2,h2:2", one rank per slot
mpi() {
    local where=$1
    shift
    on h1 mpirun --host "$where" -x OMP_NUM_THREADS "$@"
}
# train HOSTS RUN ARG…: `tandem train` on these hosts into $shared/RUN, its log is appended to $shared/RUN.log. Keeps the exit
# code in $code instead of failing.
train() {
    local where=$1 run=$2
    shift 2
    code=0
    mpi "$where" "$bed/bin/tandem" train --config "$config" --out "$shared/$run" --resume auto "$@" \
        >>"$shared/$run.log" 2>&1 || code=$?
}
# start HOSTS RUN ARG…: the same in the background. finish: waits for it and sets $code.
start() {
    (
        train "$@"
        exit "$code"
    ) &
    started_process=$!
}
finish() {
    code=0
    wait "$started_process" || code=$?
}
# ended: whether the run of `start` has
ended() { ! kill -0 "$started_process" 2>/dev/null; }
# runs N: whether N run directories have begun
runs() { [ "$(find "$shared" -name metrics.jsonl | wc -l)" -ge "$1" ]; }
# steps RUN: how many lines metrics.jsonl has; a line is a step in the configuration of the bed
steps() { if [ -e "$shared/$1/metrics.jsonl" ]; then grep -c '"loss"' "$shared/$1/metrics.jsonl"; else echo 0; fi; }
# beyond RUN N: whether more than N steps are done
beyond() { [ "$(steps "$1")" -gt "$2" ]; }
# log_says RUN PATTERN
log_says() { grep -qE "$2" "$shared/$1.log"; }
# made_twice LOG…: how many steps had to be made again by resumed runs, by the logs of all of them
made_twice() {
    awk '/^step +[0-9]/ { split($2, part, "/"); last = part[1] }
        /^resuming from/ && last > $NF { twice += last - $NF }
        END { print twice + 0 }' "$@"
}
# same_bits RUN RUN: whether weights and moments of the latest checkpoints are the same bits
same_bits() {
    local a b group
    a=$shared/$1/checkpoints/$(<"$shared/$1/checkpoints/latest")
    b=$shared/$2/checkpoints/$(<"$shared/$2/checkpoints/latest")
    h5diff -q "$a/model.h5" "$b/model.h5" /param /param || return 1
    for group in /m /v; do h5diff -q "$a/state.h5" "$b/state.h5" "$group" "$group" || return 1; done
}
# same_curve RUN RUN LIMIT: whether the losses of all steps agree, the largest relative difference at most LIMIT
same_curve() {
    paste -d'\n' <(losses "$1") <(losses "$2") | awk -v limit="$3" '
        NR % 2 { step = $1; loss = $2; next }
        step == "" || $1 != step { bad = "other steps"; exit }
        { d = (loss - $2) / loss; if (d < 0) d = -d; if (d > worst) worst = d }
        END { print NR / 2, "steps, largest relative difference", worst + 0, bad; exit bad != "" || NR == 0 || worst > limit }'
}
losses() { jq -r 'select(.loss) | "\(.step) \(.loss)"' "$shared/$1/metrics.jsonl"; }

# knows KEY: whether this build has such a key of the configuration
knows() { on h1 tandem train --help | grep "$1 " >/dev/null; } # all of it is read: no broken pipe
# stall_settings: sets $stall to the settings (group.key=value) that make a run end which waits 6 s for a silent rank; nothing in
# a build without a watchdog
# shellcheck disable=SC2034
stall_settings() {
    stall=()
    if knows train.stall_minutes; then stall=(train.stall_minutes=0.1 train.stall_end=true); fi
}

# --- Slurm ------------------------------------------------------------------------------------------------------------

# slurm N: brings up N hosts with munge and slurmd, and slurmctld on h1, with the partitions "low" (the default) and "high",
# whose jobs put those of "low" back into the queue. Every host has 4 CPUs, whatever the machine has.
slurm() {
    local number
    mkdir -p "$shared/.slurm"
    sed "s|SHARED|$shared|; s|HOSTS|h[1-$1]|" "$here/slurm.conf" >"$etc/slurm/slurm.conf"
    hosts "$1"
    for number in $(seq "$1"); do on "h$number" munged --force; done
    on h1 slurmctld
    for number in $(seq "$1"); do on "h$number" slurmd; done
    wait_for 30 all_idle "$1"
}
all_idle() { [ "$(on h1 sinfo --noheader --Node --states=idle --partition=low --format=%N | wc -l)" -eq "$1" ]; }
# slurm_again HOST: its daemons, after host_down and host_up
slurm_again() {
    # What a centre should do at boot: in what a lost step has left there, Slurm 22.05 cannot start it again ("task launch
    # failed: Unspecified error").
    on "$1" rm -rf /var/spool/slurmd
    on "$1" munged --force
    on "$1" slurmd
}
# job_over: whether the job, all tasks of it, has come to its end; a script that requeues itself has ended for a moment
job_over() { no_task_left && sleep 1 && no_task_left; }
no_task_left() { [[ " $(job_state) " != *" "@(PENDING|RUNNING|COMPLETING|SUSPENDED|CONFIGURING)" "* ]]; }
# submit ARG…: sbatch on h1, two hosts with a rank each unless ARG says otherwise; the job's number is in $job, and its log is
# $shared/tandem-$job.log
submit() { job=$(on h1 sbatch --parsable --chdir="$shared" --nodes=2 --ntasks-per-node=1 --cpus-per-task=1 "$@"); }
# goes_on SECONDS SECONDS [MOST]: the job is at work again within the first, which ends the stopwatch, and has completed within
# the second; at most MOST steps were made twice
goes_on() {
    local twice
    wait_for "$1" grep -q '^resuming' "tandem-$job.log"
    took
    wait_for "$2" job_over
    twice=$(made_twice "tandem-$job.log")
    lost "$twice steps"
    job_is COMPLETED || fail "$(job_state)"
    [ "$twice" -le "${3:-$twice}" ] || fail "$twice steps were made twice, more than $3"
}
# job_state: PENDING, RUNNING, COMPLETED, FAILED, … ; job_is STATE… : whether it is one of these
job_state() { on h1 scontrol show job "$job" | sed -n 's/^ *JobState=\([A-Z_]*\).*/\1/p' | paste -sd ' '; }
job_is() { [[ " $* " == *" $(job_state) "* ]]; }
# job_says NAME: a field of `scontrol show job`, such as Restarts or ExitCode
job_says() { on h1 scontrol show job "$job" | grep -oE "\b$1=[^ ]*" | head -1 | cut -d= -f2; }

# --- the bed itself -------------------------------------------------------------------------------------------------

here=$root/cluster/testbed shared=$bed/shared
mount -t tmpfs tmpfs "$bed"
mkdir -p "$bed"/{hosts,bin,cluster,layer/etc/slurm} "$shared/.hosts"
# The kernel takes no layer of a file system that is itself one: the unpacked packages come into memory.
for layer in $layers; do cp -a "$layer/." "$bed/layer/"; done
cp "$tandem" "$bed/bin/tandem"
cp "$root"/cluster/*.s* "$bed/cluster/"
cp -r "$data/." "$shared/"
sed -i "s|DATA|$shared|" "$shared/run.cfg"
# shellcheck disable=SC2034 # for scenarios
config=$shared/run.cfg

# What the hosts have in /etc beside the machine's own: users of the daemons, names, keys.
etc=$bed/layer/etc
mkdir -p "$etc/bed"
cp /etc/passwd /etc/group "$etc/"
for user in sshd munge slurm; do
    if ! grep -q "^$user:" "$etc/passwd"; then echo "$user:x:$((${#user} + 64900)):65534::/nonexistent:/usr/sbin/nologin" >>"$etc/passwd"; fi
done
{
    echo "127.0.0.1 localhost"
    for number in $(seq 16); do echo "10.77.0.$number h$number"; done
} >"$etc/hosts"
if [ -x "$bed/layer/usr/sbin/slurmd-wlm" ]; then
    # what Debian's packages do when they are installed
    for daemon in slurmctld slurmd slurmstepd; do ln -s "$daemon-wlm" "$bed/layer/usr/sbin/$daemon"; done
    mkdir -p "$etc/munge" "$bed/layer/var/lib/munge" "$bed/layer/var/log/munge"
    head -c 1024 /dev/urandom >"$etc/munge/munge.key"
    chmod 400 "$etc/munge/munge.key"
fi
ssh-keygen -q -t ed25519 -N '' -f "$etc/bed/key"
cat >"$etc/bed/sshd_config" <<END
HostKey /etc/bed/key
AuthorizedKeysFile /etc/bed/key.pub
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
MaxStartups 100
PidFile /run/sshd.pid
END
cat >"$etc/bed/ssh_config" <<END
IdentityFile /etc/bed/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
END

# The ranks of all hosts share few cores: they yield while they wait.
unset TMPDIR
export PATH=$bed/bin:$PATH TMPDIR=/tmp OMP_NUM_THREADS=1 HOME=/root
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_plm_rsh_agent="ssh -F /etc/bed/ssh_config" OMPI_MCA_orte_keep_fqdn_hostnames=0
export OMPI_MCA_oob_tcp_if_include=eth0 OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_btl=tcp,vader,self
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export bed

mkfifo "$bed/switch"
"$cache/switch" "$bed/switch" &
exec 9<>"$bed/switch"
cd "$shared"

if [ -n "${shell_on:-}" ]; then
    hosts "${shell_hosts:-4}"
    on "$shell_on" bash -i || true
    exit 0
fi
code=0
(
    set -E
    trap 'echo "line ${BASH_LINENO[0]}, exit code $?: $BASH_COMMAND" >"$result/fault"' ERR
    # shellcheck disable=SC1090
    . "$1"
) &
scenario=$!
(
    sleep "$limit"
    echo "not done after $limit s" >"$result/fault"
    kill -KILL "$scenario"
) &
wait "$scenario" || code=$?
[ "$code" -eq 0 ] || [ -s "$result/fault" ] || echo "ended with exit code $code" >"$result/fault"
# for the reader of a failure
if [ "$code" -ne 0 ]; then tail -n 5 "$shared"/*.log >&2 2>/dev/null || true; fi
if [ -n "${keep:-}" ]; then cp -r "$shared" "$result/"; fi
exit "$code"
