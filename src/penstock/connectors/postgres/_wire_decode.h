/* Columns that rows of binary COPY are decoded into. */
#ifndef PENSTOCK_WIRE_DECODE_H
#define PENSTOCK_WIRE_DECODE_H

#include "_wire.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

typedef struct WireColumn {
    const WireKind *kind;    /* of an array: of its elements */
    bool nullable;
    bool nan_as_null;
    WireDecimal decimal;
    uint32_t item_oid;       /* element type that an array must state, or 0 */
    int64_t width;           /* bytes that a value adds to a batch whatever its content */
    int32_t weighs;          /* -1 where the length of a value on the wire counts towards a batch, else 0 */

    int64_t rows, room;
    int64_t nulls;
    uint8_t *validity;       /* bits; 1 everywhere until a NULL comes */
    int64_t validity_room;
    int32_t *offsets;        /* of arrays and of kinds that vary */
    WireBytes data;          /* `used` is kept for kinds that vary only */
    int64_t first_room;      /* rows of the last batch: the next one is likely to need as much */
    size_t first_space;
    struct WireColumn *items;/* of an array, else NULL */
} WireColumn;

bool wire_column_open(WireColumn *column, const WireKind *kind, bool is_array, WireFault *fault);
void wire_column_close(WireColumn *column);
/* Append a field: `size` bytes at `p`, or NULL when size is -1. After a fault the column must not be used again. */
bool wire_column_put(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault);
/* Check what is cheaper to check for a whole batch: that text is UTF-8. Sets fault->row, counted from 0. */
bool wire_column_check(const WireColumn *column, WireFault *fault);
/* (rows, nulls, [Buffer or None, ...], items or None) in the order of Array.from_buffers; empties the column. */
PyObject *wire_column_take(WireColumn *column);

bool wire_utf8_valid(const uint8_t *p, size_t size);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
