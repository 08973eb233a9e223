/* Reads a pickle into plain values. Nothing in it is executed: a call of PyTorch's tensor rebuilding functions and of
 * those that NumPy's arrays are made by is noted with its arguments, any other makes an object without behaviour. */
#ifndef TANDEM_PICKLE_H
#define TANDEM_PICKLE_H

#include "tandem/base.h"

typedef enum pickle_kind {
    PICKLE_OTHER, /* None, a float, a number beyond 64 bits: nothing we look at */
    PICKLE_INT,   /* also bool */
    PICKLE_TEXT,
    PICKLE_BYTES,  /* text, too */
    PICKLE_GLOBAL, /* a class or function by name */
    PICKLE_TUPLE,  /* items */
    PICKLE_LIST,   /* items; also a set */
    PICKLE_DICT,   /* items with keys */
    PICKLE_OBJECT, /* items, with keys or not; those with key PICKLE_STATE are dictionaries of attributes */
    PICKLE_TENSOR, /* of: the arguments of the function that rebuilds it */
    PICKLE_CALL,   /* of: the arguments of NumPy's function, and the state that follows */
    PICKLE_PERSISTENT, /* of: what names it, the description of a storage */
} pickle_kind;

enum { PICKLE_NONE = -1, PICKLE_STATE = -2, PICKLE_BYTES_MAX = 64 << 20 };

typedef struct pickle_value {
    uint8_t kind;
    bool open, bare; /* for the walk over them: false at first */
    union {
        int64_t number;
        struct {
            uint32_t at, bytes; /* in the pickle */
        } text;
        struct {
            uint32_t module_at, name_at;
            uint16_t module_bytes, name_bytes;
        } global;
        struct {
            int32_t first, last; /* cells, or PICKLE_NONE */
            int32_t count;
            int32_t class; /* of an object: the value that was called */
        } items;
        struct {
            int32_t value;
            int32_t function; /* the global that was called, or PICKLE_NONE */
            int32_t state;    /* of a call: what it is built with, or PICKLE_NONE */
        } of;
    };
} pickle_value;

typedef struct pickle_cell {
    int32_t key; /* value, PICKLE_NONE for a list's, PICKLE_STATE */
    int32_t value;
    int32_t next; /* cell */
} pickle_cell;

typedef struct pickle {
    const char *path; /* for messages; borrowed, like data */
    const unsigned char *data;
    size_t bytes, at; /* at: the next opcode */
    pickle_value *value;
    int64_t values, value_capacity;
    pickle_cell *cell;
    int64_t cells, cell_capacity;
    int32_t *memo; /* [memos] values or PICKLE_NONE */
    int64_t memos, memo_capacity;
    int32_t *stack;
    int64_t depth, stack_capacity;
    int32_t *mark; /* stack depths */
    int64_t marks, mark_capacity;
    int32_t root;
    bool stopped;
} pickle;

/* The machine is run to its STOP; p->root is the result. TDM_E_FORMAT names path and byte. Free also after
 * an error. */
TDM_CHECKED tdm_status pickle_read(const char *path, const void *data, size_t bytes, pickle *p);
void pickle_free(pickle *p);

bool pickle_is_text(const pickle *p, int32_t value, const char *text);
bool pickle_is_global(const pickle *p, int32_t value, const char *module, const char *name);
/* The item of a tuple or list, PICKLE_NONE when there is none or `value` is neither. */
int32_t pickle_item(const pickle *p, int32_t value, int32_t index);
/* value may be PICKLE_NONE; false when it is not an integer */
bool pickle_int(const pickle *p, int32_t value, int64_t *number);

#endif
