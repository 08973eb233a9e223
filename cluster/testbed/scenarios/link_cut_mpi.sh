# shows: the link of a host is cut for good, without train.stall_end, with the keepalive that docs/cluster.md recommends
# expected: Open MPI ends the job within half a minute
hosts 2
link delay h2 5
export OMPI_MCA_oob_tcp_keepalive_time=10 OMPI_MCA_oob_tcp_keepalive_intvl=5 OMPI_MCA_oob_tcp_keepalive_probes=3
start h1:1,h2:1 run --set train.steps=12 --set checkpoint.every_steps=2
wait_for 60 beyond run 3
link cut h2
stopwatch
wait_for 60 ended
took
finish
[ "$code" -ne 0 ] || fail "exit code 0"
link join h2
train h1:1,h2:1 run --set train.steps=12 --steal-lock
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ended by Open MPI, goes on"
