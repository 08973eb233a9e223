# shows: a slow network that loses frames: 5 ms from host to host, 1 % lost
# expected: slower, but the same bits as on a quick one
hosts 2
train h1:1,h2:1 quick
link delay h2 5
link loss h2 1
stopwatch
train h1:1,h2:1 slow
took
[ "$code" -eq 0 ] || fail "exit code $code"
same_bits quick slow || fail "other bits"
lost "0 steps"
outcome "the same bits"
