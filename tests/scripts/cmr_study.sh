#!/usr/bin/env bash
# scripts/cmr_study.sh with stand-ins for what it calls: each set is packed and embedded once, each study goes to its sets in
# as many shares as there are jobs, and what fails is named.
source "$(dirname "$0")/common.sh"
cd "$clone"
mkdir -p conf/cmr/small data_prep runs/quickstart/checkpoints
touch conf/cmr/small/{objectives,width,end_to_end}.cfg
echo step-1 >runs/quickstart/checkpoints/latest
for name in scripts/install.sh scripts/build.sh quickstart.sh data_prep/fetch_emoji.sh; do
    stub "$name" <<'END'
echo "$0 $*" >>calls
END
done
stub data_prep/stamps.sh <<'END'
echo "$0" >>calls
mkdir "$1"
END
stub "$work/bin/node" <<'END'
echo "node $1" >>calls
END
stub build/tandem <<'END'
echo "$*" >>calls
case "${FAILS:-} $*" in "$1 "*"--only 2/2"*) exit "${CODE:-1}" ;; esac
command=$1
while [ "$1" != --out ] && [ $# -gt 1 ]; do shift; done
[ "$command" != pack ] || { mkdir -p "$2" && echo index >"$2/dataset.h5"; }
END
PATH=$work/bin:$PATH JOBS=2
export PATH JOBS
study() {
    : >calls
    run "$1" scripts/cmr_study.sh "${@:2}"
}
# times NUMBER PATTERN: so many calls
times() {
    [ "$(grep -cE -- "$2" calls)" -eq "$1" ] || fail_test "not $1 of /$2/: $(cat calls)"
}

study 0 width
times 1 '^./quickstart.sh'
times 6 '^pack '
times 9 '^embed '
times 1 '^study --config conf/cmr/small/width.cfg --out runs/cmr/groups/width --only 1/2'
times 1 '^study .* --only 2/2'
times 1 '^study .* --report'
says '^runs/cmr/report.html'

# all is there: nothing is packed again
study 0 --model runs/quickstart objectives end_to_end
times 0 'quickstart.sh|^pack|^embed'
times 1 '^study .*--out runs/cmr/subgroups/objectives --set data.dir=demo/cmr/subgroups --set eval.dir=demo/cmr/subgroups --only 1/2'
times 1 '^study .*--out runs/cmr/stamps/end_to_end --set model.pretrained=runs/quickstart --report'

FAILS=study study 1 width
says 'some runs failed: '
times 1 '^study .* --report'
FAILS=study CODE=3 study 3 width

echo step-2 >runs/quickstart/checkpoints/latest
study 1 --model runs/quickstart width
says 'holds features of .*step-1: remove demo/cmr and runs/cmr'
study 1 --model runs/none width
says 'runs/none has no checkpoint'
study 1 nothing
says 'there is no study conf/cmr/small/nothing.cfg'
study 1 --fast
says 'unknown option --fast; usage'
