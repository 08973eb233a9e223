#!/usr/bin/env bash
# The stamps of the Debian package tuxpaint-stamps-default as a folder for `tandem pack --format folder`:
#   data_prep/stamps.sh OUT
# leaves OUT/CLASS/NAME.png and NAME.txt, with the English line of the stamp's texts as its caption. A class is one of the
# package's top folders. Stamps that are SVG only are drawn, 128 px high; those without a text are left out.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/common.sh
source "$here/../scripts/common.sh"
out=${1:?usage: stamps.sh OUT}
stamps=${TANDEM_STAMPS:-/usr/share/tuxpaint/stamps}
[ -d "$stamps" ] || fail "$stamps is missing; scripts/install.sh cmr installs the package tuxpaint-stamps-default"

rm -rf "$out" "$out.tmp"
mkdir -p "$out.tmp"
pictures=0 drawn=0 silent=0
while IFS= read -r -d '' file; do
    name=${file%.*}
    below=${name#"$stamps"/}
    case $file in *.svg) [ ! -e "$name.png" ] || continue ;; esac
    caption=''
    [ ! -e "$name.txt" ] || IFS= read -r caption <"$name.txt" || true
    if [ -z "$caption" ] || [ "$below" = "${below#*/}" ]; then
        silent=$((silent + 1))
        continue
    fi
    # animals/birds/robin becomes animals/birds-robin: names of several folders may be the same
    rest=${below#*/}
    target=$out.tmp/${below%%/*}/${rest//\//-}
    mkdir -p "${target%/*}"
    case $file in
    *.png) cp "$file" "$target.png" ;;
    *)
        rsvg-convert -h 128 --keep-aspect-ratio -o "$target.png" "$file" || fail "cannot draw $file"
        drawn=$((drawn + 1))
        ;;
    esac
    printf '%s\n' "$caption" >"$target.txt"
    pictures=$((pictures + 1))
done < <(find "$stamps" \( -name '*.png' -o -name '*.svg' \) -print0 | sort -z)
echo "$pictures stamps, of which $drawn were drawn from SVG; $silent without a text left out" >&2
mv "$out.tmp" "$out"
