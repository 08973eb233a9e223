#!/usr/bin/env bash
# Installs into a prefix, moves the prefix, and uses what is there: tandem finds its model definitions, a program is
# compiled with what pkg-config says, shared and --static, and agrees with `tandem`. The library shows tdm_ only.
set -euo pipefail
: "${BUILD:?build directory}"
: "${SOURCE:?path of the repository}"
: "${MAKE_SHAPES:?path of make_shapes}"
: "${CMAKE:=cmake}"
: "${CC:=cc}"
read -ra cflags <<<"${CFLAGS:-}"
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset TANDEM_CONF

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

"$CMAKE" --install "$BUILD" --prefix "$work/first" >install.log 2>&1 || fail "install: $(tail -5 install.log)"
mkdir moved
mv first "moved/there"
prefix=$work/moved/there
tandem=$prefix/bin/tandem
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tandem.pc)")
export PKG_CONFIG_PATH
libdir=$(cd "$(pkg-config --variable=libdir tandem)" && pwd)
[ "$libdir" = "$(cd "$PKG_CONFIG_PATH/.." && pwd)" ] || fail "pkg-config says $libdir"
grep -qF "$work" "$PKG_CONFIG_PATH/tandem.pc" && fail "tandem.pc names the prefix: $(cat "$PKG_CONFIG_PATH/tandem.pc")"

# no name that could clash with a program's own
if [ -e "$libdir/libtandem.a" ]; then
    nm -g --defined-only "$libdir/libtandem.a" >table
else
    nm -D -g --defined-only "$libdir/libtandem.so" >table
fi
# but for the linker's own, and the locks of OpenMP's reductions, which clang shares over a whole program
awk 'NF == 3 && $3 !~ /^(__bss_start|_edata|_end|\.gomp_critical_user_.*)$/ { print $3 }' table >names
grep -qx tdm_model_create names || fail "the library does not export tdm_model_create"
grep -v '^tdm_' names >strangers || true
[ ! -s strangers ] || fail "the library exports: $(cat strangers)"
# and of tdm_ only what a header declares; rows of tables, tdm_loss_NAME, are known by name
grep -v '^tdm_loss_' names | while read -r name; do
    grep -qwr "$name" "$SOURCE/include/tandem" || echo "$name"
done >undeclared
[ ! -s undeclared ] || fail "exported, but in no header: $(tr '\n' ' ' <undeclared)"

# a small run with the moved binary, and definitions found by name
"$tandem" bench --model emoji_vit --steps 1 --warmup 0 --batch 2 --threads 1 --precision f32 --json bench.json 2>log ||
    fail "bench: $(tail -3 log)"
"$MAKE_SHAPES" data
"$tandem" tokenizer --train --vocab-size 560 --out bpe.txt data 2>log || fail "tokenizer: $(cat log)"
cat >run.cfg <<CFG
data: { dir = "data"; split = "train"; workers = 1; };
model: {
  name = "tiny"; embed_dim = 32; activation = "gelu"; tokenizer = "bpe.txt";
  image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };
  text: { context_length = 16; vocab_size = $(($(grep -vc '^#' bpe.txt) + 514)); width = 32; layers = 1; heads = 2; };
};
train: { batch = 64; steps = 2; precision = "f32"; };
CFG
"$tandem" train --config run.cfg --out run 2>log || fail "train: $(tail -3 log)"

# docs/library.md shows the middle of the example as it is
middle='/^static tdm_status compare/,/^}/p'
diff <(sed -n "$middle" "$SOURCE/examples/embed.c") <(sed 's/^    //' "$SOURCE/docs/library.md" | sed -n "$middle") ||
    fail "docs/library.md shows another examples/embed.c"

# the example, with every set of flags
for static in "" --static; do
    # shellcheck disable=SC2046,SC2086 # words of pkg-config
    "$CC" "${cflags[@]}" "$SOURCE/examples/embed.c" $(pkg-config $static --cflags --libs tandem) -o embed 2>log ||
        fail "embed.c with pkg-config $static: $(head -20 log)"
    LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ./embed run "a red circle" "a red circle" >same 2>log ||
        fail "embed: $(tail -3 log)"
    [ "$(cat same)" = 1.000000 ] || fail "cosine of a text with itself: $(cat same)"
    LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ./embed run "a red circle" "blue squares" >other
    awk '{ exit !($1 > -1 && $1 < 0.9999) }' other || fail "cosine of two texts: $(cat other)"
done
