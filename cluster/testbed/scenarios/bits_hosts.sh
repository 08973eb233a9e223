# shows: 4 x 1 and 3 + 1 ranks on hosts: the same bits again, and the curve of one host
# expected: as in bits_2x2
hosts 4
train h1:4 one
for where in h1:1,h2:1,h3:1,h4:1 h1:3,h2:1; do
    for run in a b; do
        train "$where" "$where$run"
        [ "$code" -eq 0 ] || fail "$where: exit code $code"
    done
    same_bits "$where"a "$where"b || fail "$where: two runs differ"
    same_curve "$where"a one 1e-4 || fail "$where: another curve than on one host"
done
outcome "the same bits again, the curve of one host"
