#!/usr/bin/env bash
# tandem import and tandem export: usage, and files that are none.
. "$(dirname "$0")/common.sh"

refuse 2 'import: --from FILE\|DIR is missing' import --out "$work/ckpt"
refuse 2 'import: --out CKPT is missing' import --from "$work"
refuse 2 'import: unexpected argument "x"' import --from "$work" --out "$work/ckpt" x
refuse 2 'import: --image-size 0: expected PX, or HEIGHTxWIDTH' import --from "$work" --out "$work/ckpt" --image-size 0
refuse 2 'import: --image-size 224x: expected' import --from "$work" --out "$work/ckpt" --image-size 224x
refuse 2 'import: --image-size 99999: expected' import --from "$work" --out "$work/ckpt" --image-size 99999
refuse 2 'import: --activation relu: must be one of quickgelu\|gelu' import --from "$work" --out "$work/ckpt" --activation relu
refuse 2 'import: --resize bicubic: must be one of open_clip\|huggingface\|tbps_clip' \
    import --from "$work" --out "$work/ckpt" --resize bicubic
refuse 1 'absent' import --from "$work/absent" --out "$work/ckpt"
: >"$work/empty.safetensors"
refuse 1 'empty\.safetensors' import --from "$work/empty.safetensors" --out "$work/ckpt"
refuse 1 'empty\.safetensors' info "$work/empty.safetensors"
head -c 4096 /dev/urandom >"$work/noise.pt"
refuse 1 'noise\.pt' import --from "$work/noise.pt" --out "$work/ckpt"

# one tensor, named as no model's
printf '\x40\x00\x00\x00\x00\x00\x00\x00{"a.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   \x00\x00\x80\x3f' \
    >"$work/other.safetensors"
run 0 info "$work/other.safetensors" --verify
has "$work/out" '^tensors +1$'
has "$work/out" '^ *a\.weight +F32 +1$'
refuse 1 'other\.safetensors: holds no CLIP model under the names of .*the first is a\.weight' \
    import --from "$work/other.safetensors" --out "$work/ckpt"
[ ! -e "$work/ckpt" ] || fail "a refused import left something behind"

refuse 2 'export: --model CKPT is missing' export --to "$work/x"
refuse 2 'export: --naming timm: must be one of open_clip\|huggingface' export --model "$work" --to "$work/x" --naming timm
refuse 2 'export: --dtype f64: must be one of f32\|bf16\|f16' export --model "$work" --to "$work/x" --dtype f64
refuse 2 'export: takes options only' export --model "$work" --to "$work/x" y
refuse 1 'absent: there is no such checkpoint' export --model "$work/absent" --to "$work/x"
[ ! -e "$work/x" ] || fail "a refused export left something behind"
