# shellcheck shell=bash disable=SC2154
# shows: train.reduce = "exchange" and "mpi" on 2 and 4 hosts: their curves, and seconds of a sum of 4 MiB
# expected: the same curve; through the switch of the bed, which is one process, times are ratios at best
hosts 4
times=
for where in h1:1,h2:1 h1:1,h2:1,h3:1,h4:1; do
    for way in exchange mpi; do
        train "$where" "$way$where" --set "train.reduce=$way"
        [ "$code" -eq 0 ] || fail "$way on $where: exit code $code"
    done
    same_curve "exchange$where" "mpi$where" 1e-4 || fail "$where: the ways give two curves"
    mpi "$where" "$bed/bin/tandem" bench --comm --max-mib 4 --steps 3 --json "$shared/sums.json" >"$shared/sums.log" 2>&1 ||
        fail "bench: $(tail -1 "$shared/sums.log")"
    ratio=$(jq '[.results[] | select(.bytes == 4194304 and .bucket_mib == 25)] | map({(.way): .time_s}) | add |
        .mpi / .f32 * 100 | round / 100' "$shared/sums.json")
    times+="${times:+ and }$ratio"
done
outcome "one curve; mpi takes $times times as long as exchange"
