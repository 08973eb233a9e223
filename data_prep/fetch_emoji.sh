#!/usr/bin/env bash
# Fetches the demo data: the emoji of four artists as 64 px PNGs, with labels and tags.
#   data_prep/fetch_emoji.sh OUT
# leaves OUT/{google,twitter,openmoji,fluent}/HEXCODE.png, OUT/emoji.json and OUT/LICENSES. Packages come through npm, which
# checks their integrity; what is there already is not fetched or drawn again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: fetch_emoji.sh OUT}
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ -e "$out/emoji.json" ] && exit 0

for tool in npm node rsvg-convert tar; do
    command -v "$tool" >/dev/null || {
        echo "fetch_emoji.sh: $tool is missing; scripts/install.sh demo installs it" >&2
        exit 1
    }
done

cache=$out/.packages
mkdir -p "$cache"
# unpack NAME VERSION FOLDER PATH…: fetches the package and unpacks the named paths of it
unpack() {
    local name=$1 version=$2 folder=$3
    shift 3
    [ -e "$cache/$folder.done" ] && return
    echo "fetching $name $version" >&2
    rm -rf "${cache:?}/$folder"
    mkdir -p "$cache/$folder"
    (cd "$cache" && npm pack --silent "$name@$version" >/dev/null)
    tar -xzf "$cache/$name-$version.tgz" -C "$cache/$folder" --strip-components=1 "${@/#/package/}"
    rm "$cache/$name-$version.tgz"
    touch "$cache/$folder.done"
}
unpack emoji-datasource-google 16.0.0 google LICENSE img/google/64
unpack emoji-datasource-twitter 16.0.0 twitter LICENSE img/twitter/64
unpack openmoji 17.0.0 openmoji LICENSE.txt color/svg
unpack fluentui-emoji 1.3.0 fluent LICENSE icons/modern
unpack emojibase-data 17.0.0 emojibase LICENSE en/data.json en/messages.json

# which picture of which artist shows which concept: lines "source<TAB>target", and emoji.json beside them
node "$here/emoji_index.js" "$cache" "$out" >"$out/draw.tsv"

mkdir -p "$out"/{google,twitter,openmoji,fluent}
echo "drawing $(wc -l <"$out/draw.tsv") pictures" >&2
draw() {
    while IFS=$'\t' read -r source target; do
        [ -s "$target" ] && continue
        case $source in
        *.png) cp "$source" "$target.tmp" ;;
        *) rsvg-convert -w 64 -h 64 --keep-aspect-ratio -o "$target.tmp" "$source" ;;
        esac && mv "$target.tmp" "$target" || exit 255 # xargs stops at once
    done
}
export -f draw
xargs -a "$out/draw.tsv" -d '\n' -n 64 -P "$(nproc)" bash -c 'printf "%s\n" "$@" | draw' _

{
    cat <<EOF
google    Noto Emoji, Google; npm emoji-datasource-google 16.0.0; images Apache 2.0 / SIL OFL 1.1
twitter   Twemoji, Twitter and contributors; npm emoji-datasource-twitter 16.0.0; images CC-BY 4.0
openmoji  OpenMoji, HfG Schwaebisch Gmuend; npm openmoji 17.0.0; CC BY-SA 4.0
fluent    Fluent Emoji, Microsoft; npm fluentui-emoji 1.3.0; MIT
labels    emojibase-data 17.0.0, Miles Johnson; MIT
EOF
    for folder in google twitter openmoji fluent emojibase; do
        printf '\n==== the licence file of the package for "%s" (of its code, where the list above says otherwise) ====\n\n' "$folder"
        cat "$cache/$folder"/LICENSE*
    done
} >"$out/LICENSES"
rm "$out/draw.tsv"
mv "$out/emoji.json.tmp" "$out/emoji.json"
rm -rf "$cache"
