/* The pickle machine: opcodes as in CPython's pickletools.py, those that PyTorch's and Python's picklers of
 * protocols 2 to 5 write. Values live in one array and refer to each other by index, so that cycles and
 * sharing cost nothing and depth costs no C stack. */
#include "pickle.h"
#include "tensors_impl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_MAX = 1 << 23, CELLS_MAX = 1 << 23 };

#define PICKLE_REQUIRE(p, condition, ...)                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            set_error(p, __LINE__, __VA_ARGS__);                                                             \
            return TDM_E_FORMAT;                                                                             \
        }                                                                                                    \
    } while (0)

TDM_PRINTF(3, 4) static void set_error(const pickle *p, int line, const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    tdm_error_set(TDM_E_FORMAT, __FILE__, line, "%s: pickle: %s (before byte %zu)", p->path, what, p->at);
}

/* ---- Values, items, the stack ---- */

static tdm_status push(pickle *p, int32_t value)
{
    TDM_TRY(tensor_grow(&p->stack, p->depth, &p->stack_capacity, sizeof *p->stack));
    p->stack[p->depth++] = value;
    return TDM_OK;
}

static tdm_status push_new(pickle *p, pickle_value value)
{
    PICKLE_REQUIRE(p, p->values < VALUES_MAX, "more than %d values", VALUES_MAX);
    TDM_TRY(tensor_grow(&p->value, p->values, &p->value_capacity, sizeof *p->value));
    p->value[p->values] = value;
    return push(p, (int32_t)p->values++);
}

static tdm_status push_box(pickle *p, pickle_kind kind, int32_t class)
{
    return push_new(p, (pickle_value){.kind = (uint8_t)kind,
                                      .items = {.first = PICKLE_NONE, .last = PICKLE_NONE, .class = class}});
}

/* What is above the last mark, or all when there is none. */
static int64_t available(const pickle *p)
{
    return p->depth - (p->marks > 0 ? p->mark[p->marks - 1] : 0);
}

static tdm_status pop(pickle *p, int32_t *value)
{
    PICKLE_REQUIRE(p, available(p) > 0, "takes a value from an empty stack");
    *value = p->stack[--p->depth];
    return TDM_OK;
}

static tdm_status peek(pickle *p, int32_t *value)
{
    PICKLE_REQUIRE(p, available(p) > 0, "takes a value from an empty stack");
    *value = p->stack[p->depth - 1];
    return TDM_OK;
}

/* The values above the last mark: stack[*first … depth); the mark goes. */
static tdm_status pop_to_mark(pickle *p, int64_t *first)
{
    PICKLE_REQUIRE(p, p->marks > 0, "ends a list that has not begun");
    *first = p->mark[--p->marks];
    return TDM_OK;
}

static tdm_status append(pickle *p, int32_t box, int32_t key, int32_t value)
{
    PICKLE_REQUIRE(p, p->cells < CELLS_MAX, "more than %d items", CELLS_MAX);
    TDM_TRY(tensor_grow(&p->cell, p->cells, &p->cell_capacity, sizeof *p->cell));
    const int32_t new = (int32_t)p->cells++;
    p->cell[new] = (pickle_cell){.key = key, .value = value, .next = PICKLE_NONE};
    pickle_value *v = &p->value[box];
    if (v->items.last == PICKLE_NONE)
        v->items.first = new;
    else
        p->cell[v->items.last].next = new;
    v->items.last = new;
    v->items.count++;
    return TDM_OK;
}

static pickle_kind kind_of(const pickle *p, int32_t value)
{
    return value >= 0 ? (pickle_kind)p->value[value].kind : PICKLE_OTHER;
}

int32_t pickle_item(const pickle *p, int32_t value, int32_t index)
{
    const pickle_kind kind = kind_of(p, value);
    if ((kind != PICKLE_TUPLE && kind != PICKLE_LIST) || index >= p->value[value].items.count)
        return PICKLE_NONE;
    int32_t cell = p->value[value].items.first;
    while (index-- > 0) cell = p->cell[cell].next;
    return p->cell[cell].value;
}

bool pickle_int(const pickle *p, int32_t value, int64_t *number)
{
    if (kind_of(p, value) != PICKLE_INT) return false;
    *number = p->value[value].number;
    return true;
}

static bool same(const pickle *p, uint32_t at, size_t bytes, const char *text)
{
    return bytes == strlen(text) && memcmp(p->data + at, text, bytes) == 0;
}

bool pickle_is_text(const pickle *p, int32_t value, const char *text)
{
    return kind_of(p, value) == PICKLE_TEXT &&
           same(p, p->value[value].text.at, p->value[value].text.bytes, text);
}

bool pickle_is_global(const pickle *p, int32_t value, const char *module, const char *name)
{
    if (kind_of(p, value) != PICKLE_GLOBAL) return false;
    const pickle_value *v = &p->value[value];
    return same(p, v->global.module_at, v->global.module_bytes, module) &&
           same(p, v->global.name_at, v->global.name_bytes, name);
}

/* ---- Arguments in the byte stream ---- */

/* Little-endian, width bytes, at most 8. */
static tdm_status take_uint(pickle *p, int width, uint64_t *number)
{
    PICKLE_REQUIRE(p, (size_t)width <= p->bytes - p->at, "ends in the middle of a number");
    *number = 0;
    memcpy(number, p->data + p->at, (size_t)width);
    p->at += (size_t)width;
    return TDM_OK;
}

/* A length of width bytes and as many bytes; *at is where they begin. */
static tdm_status take_bytes(pickle *p, int width, uint32_t *at, uint32_t *bytes)
{
    uint64_t length;
    TDM_TRY(take_uint(p, width, &length));
    PICKLE_REQUIRE(p, length <= p->bytes - p->at, "a text of %llu bytes goes beyond its end",
                   (unsigned long long)length);
    *at = (uint32_t)p->at;
    *bytes = (uint32_t)length;
    p->at += (size_t)length;
    return TDM_OK;
}

static tdm_status take_line(pickle *p, uint32_t *at, uint16_t *bytes)
{
    const unsigned char *begin = p->data + p->at, *end = memchr(begin, '\n', p->bytes - p->at);
    PICKLE_REQUIRE(p, end != NULL && end - begin <= UINT16_MAX, "a name has no end");
    *at = (uint32_t)p->at;
    *bytes = (uint16_t)(end - begin);
    p->at += (size_t)(end - begin) + 1;
    return TDM_OK;
}

/* ---- Plain values ---- */

static tdm_status op_other(pickle *p, int skip)
{
    PICKLE_REQUIRE(p, (size_t)skip <= p->bytes - p->at, "ends in the middle of a number");
    p->at += (size_t)skip;
    return push_new(p, (pickle_value){.kind = PICKLE_OTHER});
}

static tdm_status op_bool(pickle *p, int number)
{
    return push_new(p, (pickle_value){.kind = PICKLE_INT, .number = number});
}

static tdm_status op_uint(pickle *p, int width)
{
    uint64_t number;
    TDM_TRY(take_uint(p, width, &number));
    return push_new(p, (pickle_value){.kind = PICKLE_INT, .number = (int64_t)number});
}

static tdm_status op_int32(pickle *p, int width)
{
    uint64_t number;
    TDM_TRY(take_uint(p, width, &number));
    return push_new(p, (pickle_value){.kind = PICKLE_INT, .number = (int32_t)(uint32_t)number});
}

/* Two's complement of any length. */
static tdm_status op_long(pickle *p, int width)
{
    uint32_t at, bytes;
    TDM_TRY(take_bytes(p, width, &at, &bytes));
    if (bytes > sizeof(int64_t)) return push_new(p, (pickle_value){.kind = PICKLE_OTHER});
    int64_t number = bytes > 0 && (p->data[at + bytes - 1] & 0x80) != 0 ? -1 : 0;
    memcpy(&number, p->data + at, bytes);
    return push_new(p, (pickle_value){.kind = PICKLE_INT, .number = number});
}

static tdm_status op_text(pickle *p, int width)
{
    pickle_value v = {.kind = PICKLE_TEXT};
    TDM_TRY(take_bytes(p, width, &v.text.at, &v.text.bytes));
    return push_new(p, v);
}

static tdm_status op_bytes(pickle *p, int width)
{
    uint32_t at, bytes;
    TDM_TRY(take_bytes(p, width, &at, &bytes));
    return push_new(p, (pickle_value){.kind = PICKLE_BYTES, .text = {.at = at, .bytes = bytes}});
}

/* ---- Containers ---- */

static tdm_status op_mark(pickle *p, int unused)
{
    (void)unused;
    TDM_TRY(tensor_grow(&p->mark, p->marks, &p->mark_capacity, sizeof *p->mark));
    p->mark[p->marks++] = (int32_t)p->depth;
    return TDM_OK;
}

static tdm_status op_empty(pickle *p, int kind)
{
    return push_box(p, (pickle_kind)kind, PICKLE_NONE);
}

/* stack[first … depth) become the items of a new container in their place. */
static tdm_status collect(pickle *p, pickle_kind kind, int64_t first)
{
    const int64_t end = p->depth;
    TDM_TRY(push_box(p, kind, PICKLE_NONE));
    const int32_t box = p->stack[p->depth - 1];
    for (int64_t i = first; i < end; i++) TDM_TRY(append(p, box, PICKLE_NONE, p->stack[i]));
    p->stack[first] = box;
    p->depth = first + 1;
    return TDM_OK;
}

static tdm_status op_tuple(pickle *p, int count)
{
    PICKLE_REQUIRE(p, available(p) >= count, "takes a value from an empty stack");
    return collect(p, PICKLE_TUPLE, p->depth - count);
}

static tdm_status op_collect(pickle *p, int kind)
{
    int64_t first;
    TDM_TRY(pop_to_mark(p, &first));
    return collect(p, (pickle_kind)kind, first);
}

static tdm_status append_from(pickle *p, int64_t first)
{
    const int64_t end = p->depth;
    int32_t box;
    p->depth = first;
    TDM_TRY(peek(p, &box));
    const pickle_kind kind = kind_of(p, box);
    PICKLE_REQUIRE(p, kind == PICKLE_LIST || kind == PICKLE_OBJECT, "appends to what is not a list");
    for (int64_t i = first; i < end; i++) TDM_TRY(append(p, box, PICKLE_NONE, p->stack[i]));
    return TDM_OK;
}

static tdm_status set_from(pickle *p, int64_t first)
{
    const int64_t end = p->depth;
    int32_t box;
    p->depth = first;
    TDM_TRY(peek(p, &box));
    const pickle_kind kind = kind_of(p, box);
    PICKLE_REQUIRE(p, kind == PICKLE_DICT || kind == PICKLE_OBJECT,
                   "sets an item of what is not a dictionary");
    PICKLE_REQUIRE(p, (end - first) % 2 == 0, "sets a dictionary's item without a value");
    for (int64_t i = first; i < end; i += 2) TDM_TRY(append(p, box, p->stack[i], p->stack[i + 1]));
    return TDM_OK;
}

static tdm_status op_append(pickle *p, int unused)
{
    (void)unused;
    PICKLE_REQUIRE(p, available(p) >= 2, "takes a value from an empty stack");
    return append_from(p, p->depth - 1);
}

static tdm_status op_set_item(pickle *p, int unused)
{
    (void)unused;
    PICKLE_REQUIRE(p, available(p) >= 3, "takes a value from an empty stack");
    return set_from(p, p->depth - 2);
}

static tdm_status op_append_many(pickle *p, int unused)
{
    int64_t first;
    (void)unused;
    TDM_TRY(pop_to_mark(p, &first));
    return append_from(p, first);
}

static tdm_status op_set_many(pickle *p, int unused)
{
    int64_t first;
    (void)unused;
    TDM_TRY(pop_to_mark(p, &first));
    return set_from(p, first);
}

/* ---- The stack and the memo ---- */

static tdm_status op_pop(pickle *p, int unused)
{
    int32_t value;
    (void)unused;
    if (p->marks > 0 && available(p) == 0) {
        p->marks--;
        return TDM_OK;
    }
    return pop(p, &value);
}

static tdm_status op_pop_mark(pickle *p, int unused)
{
    (void)unused;
    return pop_to_mark(p, &p->depth);
}

static tdm_status op_duplicate(pickle *p, int unused)
{
    int32_t value;
    (void)unused;
    TDM_TRY(peek(p, &value));
    return push(p, value);
}

static tdm_status remember(pickle *p, uint64_t index)
{
    int32_t value;
    TDM_TRY(peek(p, &value));
    /* picklers number densely: this bounds the memory by the size of the pickle */
    PICKLE_REQUIRE(p, index < p->at, "remembers a value as number %llu", (unsigned long long)index);
    while ((uint64_t)p->memos <= index) {
        TDM_TRY(tensor_grow(&p->memo, p->memos, &p->memo_capacity, sizeof *p->memo));
        p->memo[p->memos++] = PICKLE_NONE;
    }
    p->memo[index] = value;
    return TDM_OK;
}

static tdm_status op_put(pickle *p, int width)
{
    uint64_t index;
    TDM_TRY(take_uint(p, width, &index));
    return remember(p, index);
}

static tdm_status op_memoize(pickle *p, int unused)
{
    (void)unused;
    return remember(p, (uint64_t)p->memos);
}

static tdm_status op_get(pickle *p, int width)
{
    uint64_t index;
    TDM_TRY(take_uint(p, width, &index));
    PICKLE_REQUIRE(p, index < (uint64_t)p->memos && p->memo[index] != PICKLE_NONE,
                   "recalls value %llu, which was not remembered", (unsigned long long)index);
    return push(p, p->memo[index]);
}

/* ---- Globals, calls, objects ---- */

static tdm_status op_global(pickle *p, int unused)
{
    pickle_value v = {.kind = PICKLE_GLOBAL};
    (void)unused;
    TDM_TRY(take_line(p, &v.global.module_at, &v.global.module_bytes));
    TDM_TRY(take_line(p, &v.global.name_at, &v.global.name_bytes));
    return push_new(p, v);
}

static tdm_status op_stack_global(pickle *p, int unused)
{
    int32_t module, name;
    (void)unused;
    TDM_TRY(pop(p, &name));
    TDM_TRY(pop(p, &module));
    const bool texts = kind_of(p, module) == PICKLE_TEXT && kind_of(p, name) == PICKLE_TEXT;
    PICKLE_REQUIRE(
        p, texts && p->value[module].text.bytes <= UINT16_MAX && p->value[name].text.bytes <= UINT16_MAX,
        "names a class by what is not a name");
    return push_new(p, (pickle_value){.kind = PICKLE_GLOBAL,
                                      .global = {.module_at = p->value[module].text.at,
                                                 .module_bytes = (uint16_t)p->value[module].text.bytes,
                                                 .name_at = p->value[name].text.at,
                                                 .name_bytes = (uint16_t)p->value[name].text.bytes}});
}

/* What a call of `function` means to us; everything else makes an object. */
typedef enum call_meaning {
    CALL_OBJECT,
    CALL_DICT,
    CALL_FIRST,
    CALL_TENSOR,
    CALL_TYPED,
    CALL_NUMPY
} call_meaning;

static const struct {
    const char *module, *name;
    call_meaning meaning;
} calls[] = {
    {"torch._utils", "_rebuild_tensor", CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", CALL_TENSOR},
    {"torch._utils", "_rebuild_parameter", CALL_FIRST}, /* the tensor in it */
    {"torch._utils", "_rebuild_parameter_with_state", CALL_FIRST},
    {"torch._tensor", "_rebuild_from_type_v2", CALL_TYPED}, /* function, type, arguments, state */
    {"torch", "Size", CALL_FIRST},
    {"torch.jit._pickle", "build_intlist", CALL_FIRST},
    {"torch.jit._pickle", "build_tensorlist", CALL_FIRST},
    {"torch.jit._pickle", "build_doublelist", CALL_FIRST},
    {"torch.jit._pickle", "build_boollist", CALL_FIRST},
    {"torch.jit._pickle", "restore_type_tag", CALL_FIRST},
    {"numpy", "dtype", CALL_NUMPY},
    {"numpy.core.multiarray", "_reconstruct", CALL_NUMPY},
    {"numpy._core.multiarray", "_reconstruct", CALL_NUMPY},
    {"numpy.core.numeric", "_frombuffer", CALL_NUMPY},
    {"numpy._core.numeric", "_frombuffer", CALL_NUMPY},
    {"_codecs", "encode", CALL_NUMPY}, /* bytes in protocol 2 */
    {"__builtin__", "bytes", CALL_NUMPY},
    {"collections", "OrderedDict", CALL_DICT},
    {"collections", "defaultdict", CALL_DICT},
};

static call_meaning meaning_of(const pickle *p, int32_t function)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (pickle_is_global(p, function, calls[i].module, calls[i].name)) return calls[i].meaning;
    return CALL_OBJECT;
}

static tdm_status call(pickle *p, int32_t function, int32_t arguments)
{
    call_meaning meaning = meaning_of(p, function);
    PICKLE_REQUIRE(p, kind_of(p, arguments) == PICKLE_TUPLE, "calls with what is not a tuple of arguments");
    if (meaning == CALL_TYPED) { /* a tensor's subclass, or one with attributes */
        function = pickle_item(p, arguments, 0);
        arguments = pickle_item(p, arguments, 2);
        meaning = meaning_of(p, function);
    }
    const int32_t first = pickle_item(p, arguments, 0);
    if (meaning == CALL_TENSOR && kind_of(p, arguments) == PICKLE_TUPLE)
        return push_new(
            p, (pickle_value){.kind = PICKLE_TENSOR, .of = {.value = arguments, .function = function}});
    if (meaning == CALL_NUMPY && kind_of(p, arguments) == PICKLE_TUPLE)
        return push_new(
            p, (pickle_value){.kind = PICKLE_CALL,
                              .of = {.value = arguments, .function = function, .state = PICKLE_NONE}});
    if (meaning == CALL_FIRST && first != PICKLE_NONE) return push(p, first);
    if (meaning == CALL_DICT) return push_box(p, PICKLE_DICT, PICKLE_NONE);
    return push_box(p, PICKLE_OBJECT, function);
}

static tdm_status op_call(pickle *p, int keywords)
{
    int32_t function, arguments;
    if (keywords != 0) TDM_TRY(pop(p, &arguments));
    TDM_TRY(pop(p, &arguments));
    TDM_TRY(pop(p, &function));
    return call(p, function, arguments);
}

static tdm_status op_persistent(pickle *p, int unused)
{
    int32_t name;
    (void)unused;
    TDM_TRY(pop(p, &name));
    return push_new(
        p, (pickle_value){.kind = PICKLE_PERSISTENT, .of = {.value = name, .function = PICKLE_NONE}});
}

/* Attributes: a dictionary, or a pair of two (the second those of __slots__). Other objects than ours keep
 * what they are: an OrderedDict's attributes, a tensor's, are no items of it. */
static tdm_status op_build(pickle *p, int unused)
{
    int32_t state, box;
    (void)unused;
    TDM_TRY(pop(p, &state));
    TDM_TRY(peek(p, &box));
    if (kind_of(p, box) == PICKLE_CALL) p->value[box].of.state = state;
    if (kind_of(p, box) != PICKLE_OBJECT) return TDM_OK;
    if (kind_of(p, state) == PICKLE_DICT) return append(p, box, PICKLE_STATE, state);
    for (int i = 0; i < 2; i++) {
        const int32_t part = pickle_item(p, state, i);
        if (kind_of(p, part) == PICKLE_DICT) TDM_TRY(append(p, box, PICKLE_STATE, part));
    }
    return TDM_OK;
}

/* ---- The machine ---- */

static tdm_status op_protocol(pickle *p, int width)
{
    uint64_t version;
    TDM_TRY(take_uint(p, width, &version));
    PICKLE_REQUIRE(p, version >= 2 && version <= 5, "has protocol %llu, 2 to 5 are read",
                   (unsigned long long)version);
    return TDM_OK;
}

static tdm_status op_frame(pickle *p, int width)
{
    uint64_t bytes;
    TDM_TRY(take_uint(p, width, &bytes));
    PICKLE_REQUIRE(p, bytes <= p->bytes - p->at, "a frame of %llu bytes goes beyond its end",
                   (unsigned long long)bytes);
    return TDM_OK;
}

static tdm_status op_stop(pickle *p, int unused)
{
    (void)unused;
    TDM_TRY(pop(p, &p->root));
    p->stopped = true;
    return TDM_OK;
}

static const struct opcode {
    tdm_status (*run)(pickle *p, int argument);
    int argument;
} opcodes[256] = {
    [0x80] = {op_protocol, 1}, /* PROTO */
    [0x95] = {op_frame, 8},
    ['.'] = {op_stop, 0},
    ['N'] = {op_other, 0},
    ['G'] = {op_other, 8}, /* BINFLOAT */
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_uint, 1}, /* BININT1 */
    ['M'] = {op_uint, 2},
    ['J'] = {op_int32, 4},
    [0x8a] = {op_long, 1}, /* LONG1 */
    [0x8b] = {op_long, 4},
    [0x8c] = {op_text, 1}, /* SHORT_BINUNICODE */
    ['X'] = {op_text, 4},
    [0x8d] = {op_text, 8},
    ['U'] = {op_text, 1}, /* SHORT_BINSTRING: Python 2's str */
    ['T'] = {op_text, 4},
    ['C'] = {op_bytes, 1}, /* SHORT_BINBYTES */
    ['B'] = {op_bytes, 4},
    [0x8e] = {op_bytes, 8},
    [0x96] = {op_bytes, 8}, /* BYTEARRAY8 */
    ['('] = {op_mark, 0},
    [')'] = {op_tuple, 0}, /* EMPTY_TUPLE */
    [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},
    [0x87] = {op_tuple, 3},
    ['t'] = {op_collect, PICKLE_TUPLE},
    [']'] = {op_empty, PICKLE_LIST},
    ['l'] = {op_collect, PICKLE_LIST},
    ['a'] = {op_append, 0},
    ['e'] = {op_append_many, 0},
    [0x8f] = {op_empty, PICKLE_LIST}, /* EMPTY_SET */
    [0x90] = {op_append_many, 0},     /* ADDITEMS */
    [0x91] = {op_collect, PICKLE_LIST},
    ['}'] = {op_empty, PICKLE_DICT},
    ['s'] = {op_set_item, 0},
    ['u'] = {op_set_many, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    ['2'] = {op_duplicate, 0},
    ['q'] = {op_put, 1}, /* BINPUT */
    ['r'] = {op_put, 4},
    [0x94] = {op_memoize, 0},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['R'] = {op_call, 0},  /* REDUCE */
    [0x81] = {op_call, 0}, /* NEWOBJ */
    [0x92] = {op_call, 1}, /* NEWOBJ_EX */
    ['Q'] = {op_persistent, 0},
    ['b'] = {op_build, 0},
};

tdm_status pickle_read(const char *path, const void *data, size_t bytes, pickle *p)
{
    *p = (pickle){.path = path, .data = data, .bytes = bytes, .root = PICKLE_NONE};
    PICKLE_REQUIRE(p, bytes <= UINT32_MAX, "has %zu bytes", bytes); /* places are 32 bits wide */
    while (!p->stopped) {
        PICKLE_REQUIRE(p, p->at < bytes, "ends without a result");
        const unsigned char code = p->data[p->at++];
        const struct opcode *op = &opcodes[code];
        PICKLE_REQUIRE(p, op->run != NULL, "unknown opcode 0x%02x", code);
        TDM_TRY(op->run(p, op->argument));
    }
    return TDM_OK;
}

void pickle_free(pickle *p)
{
    free(p->value);
    free(p->cell);
    free(p->memo);
    free(p->stack);
    free(p->mark);
    *p = (pickle){0};
}
