#!/usr/bin/env bash
# data_prep/fetch_emoji.sh with stand-ins for npm, node and rsvg-convert: killed at every command that it calls, with that
# command's file half-written, a second call makes the same files. What fails says why.
source "$(dirname "$0")/common.sh"
cd "$clone"
cp -r "$TANDEM_SOURCE_DIR/data_prep" .
fetch=data_prep/fetch_emoji.sh
PATH=$work/bin:$PATH
export PATH work

# npm pack … NAME@VERSION: a package with all that is unpacked of any of them
stub "$work/bin/npm" <<'END'
echo "$*" >>"$work/npm-calls"
for word in "$@"; do
    case $word in
    *@*) name=${word/@/-} ;;
    --pack-destination=*) cd "${word#*=}" || exit 1 ;;
    esac
done
[ -z "${NPM_FAILS:-}" ] || { echo "npm ERR! network $NPM_FAILS" >&2; exit 1; }
[ -z "${NPM_SILENT:-}" ] || exit 0
exec /bin/tar -czf "$name.tgz" -C "$work" package
END
mkdir -p "$work"/package/{img/google/64,img/twitter/64,color/svg,icons/modern,en}
touch "$work"/package/{LICENSE,LICENSE.txt,en/data.json,en/messages.json}
echo licence | tee "$work/package/LICENSE" >"$work/package/LICENSE.txt"
echo raster | tee "$work/package/img/google/64/a.png" >"$work/package/img/twitter/64/a.png"
echo vector | tee "$work/package/color/svg/a.svg" >"$work/package/icons/modern/a.svg"
stub "$work/bin/node" <<'END'
packages=$2 out=$3
printf '{}\n' >"$out/emoji.json.tmp"
for file in google/img/google/64/a.png twitter/img/twitter/64/a.png openmoji/color/svg/a.svg fluent/icons/modern/a.svg; do
    [ -s "$packages/$file" ] || { echo "no $file" >&2; exit 1; }
    printf '%s\t%s\n' "$packages/$file" "$out/${file%%/*}/A.png"
done
END
stub "$work/bin/rsvg-convert" <<'END'
[ -z "${RSVG_FAILS:-}" ] || { echo "rsvg: $RSVG_FAILS" >&2; exit 1; }
while [ "$1" != -o ]; do shift; done
exec /bin/cp "$3" "$2"
END

# whole DIR: what a call must leave, and nothing else
whole() {
    [ "$(cd "$1" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" = \
        './LICENSES ./emoji.json ./fluent/A.png ./google/A.png ./openmoji/A.png ./twitter/A.png ' ] ||
        fail_test "$1 holds $(cd "$1" && find . -type f | head -20)"
    grep -q raster "$1/google/A.png" || fail_test "$1: another picture of google"
    grep -q vector "$1/fluent/A.png" || fail_test "$1: another picture of fluent"
}
run 0 $fetch out
whole out
run 0 $fetch out # nothing to do
silent .
[ "$(wc -l <"$work/npm-calls")" -eq 5 ] || fail_test "npm was called $(wc -l <"$work/npm-calls") times"

# npm fails: its words, and what to do. Nothing is lost: four packages of five are not fetched again.
run 0 $fetch half
rm half/emoji.json
NPM_FAILS='getaddrinfo ENOTFOUND' run 1 $fetch none
says '^npm ERR! network getaddrinfo ENOTFOUND$'
says '^fetch_emoji.sh: npm could not fetch emoji-datasource-google 16.0.0 \(exit code 1; it says why above\). Is there a network'
NPM_SILENT=1 run 1 $fetch none
says 'npm could not fetch'
run 0 $fetch none
whole none
mv "$work/bin/npm" "$work/npm"
if ! command -v npm >/dev/null; then
    run 1 $fetch without
    says '^fetch_emoji.sh: npm is missing; scripts/install.sh demo installs it$'
fi
mv "$work/npm" "$work/bin/npm"

# a picture cannot be drawn; a damaged archive; no place left
RSVG_FAILS='cannot parse' run 1 $fetch drawn
says '^rsvg: cannot parse$'
says '^cannot draw .*/openmoji/color/svg/a.svg|^cannot draw .*/fluent/icons/modern/a.svg'
says '^fetch_emoji.sh: not all pictures could be drawn'
: >"$work/npm-calls"
run 0 $fetch drawn
whole drawn
[ ! -s "$work/npm-calls" ] || fail_test "packages were fetched again"
stub "$work/bin/tar" <<<'echo "tar: Unexpected EOF" >&2; exit 2'
run 1 $fetch damaged
says '^tar: Unexpected EOF$'
says '^fetch_emoji.sh: cannot unpack .*emoji-datasource-google-16.0.0.tgz'
rm "$work/bin/tar"
run 0 $fetch damaged
whole damaged

# made from other versions
sed -i '1s/16.0.0/15.0.0/' damaged/LICENSES
touch damaged/google/old.png
run 0 $fetch damaged
says 'made from other versions'
whole damaged

# Every command that the script calls, stopped in turn: it writes half of what it writes, then all processes are killed.
for command in cp mkdir mv node npm rm rsvg-convert tar touch wc xargs; do
    real=$(command -v $command) # a stand-in, or the system's
    stub "$work/killers/$command" <<END
n=\$(cat "$work/count" 2>/dev/null || echo 0)
echo \$((n + 1)) >"$work/count"
if [ "\$n" -eq "\$KILL_AT" ]; then
    case $command in
    rm) ;;
    *) "$real" "\$@" ;;
    esac
    for file in *.tgz \$(/usr/bin/find . -name '*.tmp' -newer "$work/begin"); do
        [ ! -s "\$file" ] || /usr/bin/truncate -s 3 "\$file"
    done
    kill -KILL 0
fi
exec "$real" "\$@"
END
done
touch "$work/begin"
for ((at = 0; at < 200; at++)); do
    rm -rf again "$work/count"
    { PATH=$work/killers:$PATH KILL_AT=$at setsid --wait $fetch again >"$work/out" 2>&1 && break; } 2>/dev/null
    run 0 $fetch again
    whole again
    [ ! -e again/.packages ] || fail_test "killed at command $at: .packages stays"
done
if [ "$at" -lt 30 ] || [ "$at" -eq 200 ]; then fail_test "$at commands were called"; fi
