#!/usr/bin/env bash
# Fetches the demo data: the emoji of four artists as 64 px PNGs, with labels and tags.
#   data_prep/fetch_emoji.sh OUT
# leaves OUT/{google,twitter,openmoji,fluent}/HEXCODE.png, OUT/emoji.json and OUT/LICENSES. Packages come through npm, which
# checks their integrity; what is there already is not fetched or drawn again. emoji.json comes last: with it, all is there.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/common.sh
source "$here/../scripts/common.sh"
out=${1:?usage: fetch_emoji.sh OUT}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cache=$out/.packages

# package, version, folder below .packages, what is unpacked
packages='emoji-datasource-google 16.0.0 google LICENSE img/google/64
emoji-datasource-twitter 16.0.0 twitter LICENSE img/twitter/64
openmoji 17.0.0 openmoji LICENSE.txt color/svg
fluentui-emoji 1.3.0 fluent LICENSE icons/modern
emojibase-data 17.0.0 emojibase LICENSE en/data.json en/messages.json'
licences() {
    cat <<END
google    Noto Emoji, Google; npm emoji-datasource-google 16.0.0; images Apache 2.0 / SIL OFL 1.1
twitter   Twemoji, Twitter and contributors; npm emoji-datasource-twitter 16.0.0; images CC-BY 4.0
openmoji  OpenMoji, HfG Schwaebisch Gmuend; npm openmoji 17.0.0; CC BY-SA 4.0
fluent    Fluent Emoji, Microsoft; npm fluentui-emoji 1.3.0; MIT
labels    emojibase-data 17.0.0, Miles Johnson; MIT
END
}

# What was made from other versions is made again: LICENSES begins with the versions.
if [ -e "$out/emoji.json" ]; then
    if [ "$(head -n 5 "$out/LICENSES" 2>/dev/null)" = "$(licences)" ]; then
        rm -rf "$cache" # of a call that was stopped at its end
        exit 0
    fi
    echo "$out was made from other versions of the packages: fetching again" >&2
    rm -rf "$out/emoji.json" "$out"/{google,twitter,openmoji,fluent}
fi

for tool in npm node rsvg-convert tar; do
    command -v "$tool" >/dev/null || fail "$tool is missing; scripts/install.sh demo installs it"
done

mkdir -p "$cache"
again="what is fetched and drawn stays; call again when that is mended"
# unpack NAME VERSION FOLDER PATH…: fetches the package and unpacks the named paths of it
unpack() {
    local name=$1 version=$2 folder=$3 archive=$cache/$1-$2.tgz code=0
    shift 3
    [ -e "$cache/$name-$version.done" ] && return
    echo "fetching $name $version" >&2
    rm -rf "${cache:?}/$folder" "$archive"
    mkdir -p "$cache/$folder"
    # npm's settings of this user count for the way to the registry only
    (cd "$cache" && npm pack --loglevel=error --progress=false --dry-run=false --pack-destination="$cache" "$name@$version" </dev/null) >"$cache/npm.log" 2>&1 || code=$?
    if [ "$code" -ne 0 ] || [ ! -s "$archive" ]; then
        cat "$cache/npm.log" >&2
        fail "npm could not fetch $name $version (exit code $code; it says why above). Is there a network, a proxy to set, disk space? $again"
    fi
    tar -xzf "$archive" -C "$cache/$folder" --strip-components=1 "${@/#/package/}" ||
        fail "cannot unpack $archive (tar says why above); $again"
    rm "$archive"
    touch "$cache/$name-$version.done"
}
while read -r -a package; do unpack "${package[@]}"; done <<<"$packages"

# which picture of which artist shows which concept: lines "source<TAB>target", and emoji.json beside them
node "$here/emoji_index.js" "$cache" "$out" >"$out/draw.tsv" ||
    fail "cannot join the artists' files (node says why above). Should $cache be damaged: remove it, then call again"

mkdir -p "$out"/{google,twitter,openmoji,fluent}
echo "drawing $(wc -l <"$out/draw.tsv") pictures" >&2
draw_one() {
    case $1 in
    *.png) cp "$1" "$2.tmp" ;;
    *) rsvg-convert -w 64 -h 64 --keep-aspect-ratio -o "$2.tmp" "$1" ;;
    esac && [ -s "$2.tmp" ] && mv "$2.tmp" "$2"
}
draw() {
    while IFS=$'\t' read -r source target; do
        [ -s "$target" ] || draw_one "$source" "$target" || {
            echo "cannot draw $source" >&2
            exit 255 # xargs stops at once
        }
    done
}
export -f draw_one draw
xargs -a "$out/draw.tsv" -d '\n' -n 64 -P "$(cores)" bash -c 'printf "%s\n" "$@" | draw' _ ||
    fail "not all pictures could be drawn (the reason stands above); $again"

{
    licences
    while read -r _ _ folder _; do
        printf '\n==== the licence file of the package for "%s" (of its code, where the list above says otherwise) ====\n\n' "$folder"
        cat "$cache/$folder"/LICENSE*
    done <<<"$packages"
} >"$out/LICENSES"
rm "$out/draw.tsv"
mv "$out/emoji.json.tmp" "$out/emoji.json"
rm -rf "$cache"
