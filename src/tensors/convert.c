/* Element types. Rounding is to nearest, ties to even. */
#include "tensors_impl.h"

#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[TDM_TENSOR_TYPES] = {
    [TDM_TENSOR_F64] = {"F64", 8},   [TDM_TENSOR_F32] = {"F32", 4}, [TDM_TENSOR_F16] = {"F16", 2},
    [TDM_TENSOR_BF16] = {"BF16", 2}, [TDM_TENSOR_I64] = {"I64", 8}, [TDM_TENSOR_I32] = {"I32", 4},
    [TDM_TENSOR_I16] = {"I16", 2},   [TDM_TENSOR_I8] = {"I8", 1},   [TDM_TENSOR_U8] = {"U8", 1},
    [TDM_TENSOR_BOOL] = {"BOOL", 1},
};

const char *tdm_tensor_type_name(tdm_tensor_type type)
{
    return types[type].name;
}

size_t tdm_tensor_type_bytes(tdm_tensor_type type)
{
    return types[type].bytes;
}

bool tensor_type_by_name(const char *name, tdm_tensor_type *type)
{
    for (int i = 0; i < TDM_TENSOR_TYPES; i++) {
        if (strcmp(name, types[i].name) != 0) continue;
        *type = (tdm_tensor_type)i;
        return true;
    }
    return false;
}

static float f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
                   fraction = half & 0x3ff;
    if (exponent == 31) return f32_from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float subnormal = (float)fraction * 0x1p-24F;
    return sign != 0 ? -subnormal : subnormal;
}

uint16_t tensor_f32_to_f16(float value)
{
    const uint32_t bits = f32_bits(value), sign = bits >> 16 & 0x8000, x = bits & 0x7fffffff;
    if (x > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (x >> 13 & 0x1ff)); /* a quiet NaN */
    if (x >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                    /* from 65520 up: infinity */
    if (x >= 0x38800000) return (uint16_t)(sign | (x - 0x38000000 + 0xfff + (x >> 13 & 1)) >> 13);
    if (x < 0x33000000) return (uint16_t)sign; /* below half the least subnormal, 2^-24 */
    const uint32_t shift = 126 - (x >> 23), whole = (x & 0x7fffff) | 0x800000;
    const uint32_t kept = whole >> shift, rest = whole & ((1U << shift) - 1), tie = 1U << (shift - 1);
    return (uint16_t)(sign | (kept + (rest > tie || (rest == tie && (kept & 1) != 0))));
}

/* One loop per type: each value is copied out, since a file may place it at any address. */
#define CONVERT(ctype, expression)                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        ctype x;                                                                                             \
        memcpy(&x, at + (size_t)i * sizeof x, sizeof x);                                                     \
        to[i] = (expression);                                                                                \
    }                                                                                                        \
    break

void tensor_to_f32(tdm_tensor_type type, int64_t n, const void *from, float *to)
{
    const unsigned char *at = from;
    switch (type) {
    case TDM_TENSOR_F64: CONVERT(double, (float)x);
    case TDM_TENSOR_F32: CONVERT(float, x);
    case TDM_TENSOR_F16: CONVERT(uint16_t, f16_to_f32(x));
    case TDM_TENSOR_BF16: CONVERT(uint16_t, f32_from_bits((uint32_t)x << 16));
    case TDM_TENSOR_I64: CONVERT(int64_t, (float)x);
    case TDM_TENSOR_I32: CONVERT(int32_t, (float)x);
    case TDM_TENSOR_I16: CONVERT(int16_t, (float)x);
    case TDM_TENSOR_I8: CONVERT(int8_t, (float)x);
    case TDM_TENSOR_U8: CONVERT(uint8_t, (float)x);
    case TDM_TENSOR_BOOL: CONVERT(uint8_t, x != 0 ? 1.0F : 0.0F);
    case TDM_TENSOR_TYPES: break;
    }
}
