# shows: two hosts with two ranks each: the same bits again, and the curve of one host
# expected: every run ends with 0; weights and moments of two runs are the same bits; the curve is that of four ranks on
#   one host to rounding, because sums within a host and between hosts are added in another order
# form: short
hosts 2
for run in a b; do
    train h1:2,h2:2 $run
    [ "$code" -eq 0 ] || fail "2 x 2: exit code $code"
done
train h1:4 one
[ "$code" -eq 0 ] || fail "1 x 4: exit code $code"
same_bits a b || fail "two runs on the same hosts differ"
same_curve a one 1e-4 || fail "another curve than on one host"
outcome "the same bits again, the curve of one host"
