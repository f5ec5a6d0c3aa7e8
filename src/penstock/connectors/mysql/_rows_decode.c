/* Packets of a result set in the binary protocol, decoded into Arrow buffers; no Python object for a row. */
#include "_rows.h"

#include <stdlib.h>

#define MAX_PAYLOAD 0xffffffu

/* Outcomes of run(); the numbers are those of _codes.py. */
enum { MORE = 0, BATCH = 1, END = 2, REFUSED = 3 };
/* What is wrong with a value; the numbers are those of _codes.py. */
enum { OK = 0, MALFORMED, RANGE, ZERO_DATE, NOT_UTF8, NOT_DECIMAL, NOT_UUID, WIDTH, NO_MEMORY };

/* Ways in which values lie in a row. */
enum shape { S_INT1, S_INT2, S_INT4, S_INT8, S_FLOAT, S_DOUBLE, S_MOMENT, S_CLOCK, S_BYTES, S_NULL };

typedef struct {
    enum shape shape;
    int is_unsigned, is_bit, is_null_zero;
    enum carrier carrier;
    int param; /* scale of decimals, bytes of fixed values */
    buffer validity, data, offsets;
    size_t nulls;
} column;

typedef struct {
    PyObject_HEAD
    column *columns;
    size_t count, rows, bytes, batch_rows, batch_bytes;
    size_t fixed; /* bytes of a row without those of texts */
    buffer input;
    size_t at; /* first byte of input not yet decoded */
    unsigned sequence;
    int skipping;
    uint64_t total;
    buffer refused;
} decoder;

static uint64_t little(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

/* ---- text */

static int is_utf8(const uint8_t *p, size_t size) {
    size_t i = 0;
    while (i < size) {
        uint64_t eight;
        if (i + 8 <= size) {
            memcpy(&eight, p + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        uint8_t c = p[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || i + more >= size) return 0;
        for (size_t k = 1; k <= more; k++)
            if ((p[i + k] & 0xc0) != 0x80) return 0;
        if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) || (c == 0xf0 && p[i + 1] < 0x90) ||
            (c == 0xf4 && p[i + 1] > 0x8f))
            return 0;
        i += more + 1;
    }
    return 1;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int put_uuid(const uint8_t *p, size_t size, uint8_t *out) {
    if (size == 16) {
        memcpy(out, p, 16);
        return OK;
    }
    size_t digits = 0;
    for (size_t i = 0; i < size; i++) {
        if (p[i] == '-') continue;
        int digit = hex_digit(p[i]);
        if (digit < 0 || digits == 32) return NOT_UUID;
        if (digits % 2) out[digits / 2] |= (uint8_t)digit;
        else out[digits / 2] = (uint8_t)(digit << 4);
        digits++;
    }
    return digits == 32 ? OK : NOT_UUID;
}

/* ---- decimals: unscaled integers of two or four limbs of 64 bits, the least first */

static int times_plus(uint64_t *limbs, int count, uint64_t factor, uint64_t more) {
    unsigned __int128 carry = more;
    for (int i = 0; i < count; i++) {
        carry += (unsigned __int128)limbs[i] * factor;
        limbs[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return carry ? RANGE : OK;
}

static int put_decimal(const uint8_t *p, size_t size, int scale, uint64_t *limbs, int count) {
    size_t i = 0;
    int negative = 0, after = -1, seen = 0;
    if (i < size && (p[i] == '-' || p[i] == '+')) negative = p[i++] == '-';
    uint64_t part = 0, factor = 1;
    memset(limbs, 0, sizeof(uint64_t) * (size_t)count);
    for (; i < size; i++) {
        if (p[i] == '.' && after < 0) {
            after = 0;
            continue;
        }
        if (p[i] < '0' || p[i] > '9') return NOT_DECIMAL;
        if (after >= 0 && after++ == scale) {
            if (p[i] != '0') return RANGE;
            after = scale;
            continue;
        }
        seen = 1;
        part = part * 10 + (uint64_t)(p[i] - '0');
        factor *= 10;
        if (factor == 1000000000000000000u) {
            if (times_plus(limbs, count, factor, part)) return RANGE;
            part = 0;
            factor = 1;
        }
    }
    if (!seen) return NOT_DECIMAL;
    for (int left = scale - (after < 0 ? 0 : after); left > 0; left--) {
        part *= 10;
        factor *= 10;
        if (factor == 1000000000000000000u) {
            if (times_plus(limbs, count, factor, part)) return RANGE;
            part = 0;
            factor = 1;
        }
    }
    if (times_plus(limbs, count, factor, part) || limbs[count - 1] >> 63) return RANGE;
    if (negative) {
        unsigned __int128 carry = 1;
        for (int k = 0; k < count; k++) {
            carry += (uint64_t)~limbs[k];
            limbs[k] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    return OK;
}

/* ---- columns */

static size_t width_of(const column *c) {
    switch (c->carrier) {
    case C_INT8: case C_UINT8: return 1;
    case C_INT16: case C_UINT16: return 2;
    case C_INT32: case C_UINT32: case C_FLOAT: case C_DATE: return 4;
    case C_DECIMAL128: case C_UUID: return 16;
    case C_DECIMAL256: return 32;
    case C_FIXED: return (size_t)c->param;
    case C_STRING: case C_BINARY: case C_BOOL: return 0;
    default: return 8;
    }
}

static int has_offsets(const column *c) {
    return c->carrier == C_STRING || c->carrier == C_BINARY;
}

/* Room for one more value, and its bit in the validity map. */
static int add_place(column *c, size_t row, int is_valid) {
    if (row % 8 == 0) {
        if (buffer_room(&c->validity, 1)) return NO_MEMORY;
        c->validity.data[c->validity.size++] = 0;
        if (c->carrier == C_BOOL) {
            if (buffer_room(&c->data, 1)) return NO_MEMORY;
            c->data.data[c->data.size++] = 0;
        }
    }
    if (is_valid) c->validity.data[row / 8] |= (uint8_t)(1u << (row % 8));
    else c->nulls++;
    return OK;
}

static int add_offset(column *c) {
    if (c->data.size > INT32_MAX) return RANGE;
    if (buffer_room(&c->offsets, 4)) return NO_MEMORY;
    int32_t end = (int32_t)c->data.size;
    memcpy(c->offsets.data + c->offsets.size, &end, 4);
    c->offsets.size += 4;
    return OK;
}

static int add_null(column *c, size_t row) {
    int wrong = add_place(c, row, 0);
    if (wrong) return wrong;
    if (has_offsets(c)) return add_offset(c);
    size_t width = width_of(c);
    if (width) {
        if (buffer_room(&c->data, width)) return NO_MEMORY;
        memset(c->data.data + c->data.size, 0, width);
        c->data.size += width;
    }
    return OK;
}

static int fits(enum carrier carrier, uint64_t bits, int is_unsigned) {
    int64_t value = (int64_t)bits;
    if (carrier == C_UINT64) return is_unsigned || value >= 0;
    if (is_unsigned && value < 0) return 0;
    switch (carrier) {
    case C_INT8: return value >= INT8_MIN && value <= INT8_MAX;
    case C_UINT8: return value >= 0 && value <= UINT8_MAX;
    case C_INT16: return value >= INT16_MIN && value <= INT16_MAX;
    case C_UINT16: return value >= 0 && value <= UINT16_MAX;
    case C_INT32: return value >= INT32_MIN && value <= INT32_MAX;
    case C_UINT32: return value >= 0 && value <= UINT32_MAX;
    case C_BOOL: return value == 0 || value == 1;
    default: return 1;
    }
}

static int put_integer(column *c, size_t row, uint64_t bits, int is_unsigned) {
    if (c->carrier == C_DECIMAL128 || c->carrier == C_DECIMAL256) {
        char text[24];
        int count = c->carrier == C_DECIMAL128 ? 2 : 4;
        int size = is_unsigned ? PyOS_snprintf(text, sizeof text, "%llu", (unsigned long long)bits)
                               : PyOS_snprintf(text, sizeof text, "%lld", (long long)bits);
        uint64_t limbs[4];
        int wrong = put_decimal((const uint8_t *)text, (size_t)size, c->param, limbs, count);
        if (!wrong) {
            memcpy(c->data.data + c->data.size, limbs, sizeof(uint64_t) * (size_t)count);
            c->data.size += sizeof(uint64_t) * (size_t)count;
        }
        return wrong;
    }
    if (!fits(c->carrier, bits, is_unsigned)) return RANGE;
    if (c->carrier == C_BOOL) {
        if (bits) c->data.data[row / 8] |= (uint8_t)(1u << (row % 8));
        return OK;
    }
    size_t width = width_of(c);
    memcpy(c->data.data + c->data.size, &bits, width); /* little-endian machines only; checked when the module is made */
    c->data.size += width;
    return OK;
}

static int64_t sign_extended(const uint8_t *p, int bytes) {
    uint64_t bits = little(p, bytes);
    int shift = 64 - 8 * bytes;
    return (int64_t)(bits << shift) >> shift;
}

static const uint8_t *put_number(column *c, size_t row, const uint8_t *p, const uint8_t *end, int *wrong) {
    static const int sizes[] = {1, 2, 4, 8, 4, 8};
    int size = sizes[c->shape];
    if (end - p < size) {
        *wrong = MALFORMED;
        return p;
    }
    if (c->shape == S_FLOAT || c->shape == S_DOUBLE) {
        double wide;
        float narrow;
        if (c->shape == S_FLOAT) {
            memcpy(&narrow, p, 4);
            wide = narrow;
        } else {
            memcpy(&wide, p, 8);
            narrow = (float)wide;
        }
        size_t width = width_of(c);
        memcpy(c->data.data + c->data.size, c->carrier == C_FLOAT ? (void *)&narrow : (void *)&wide, width);
        c->data.size += width;
    } else {
        uint64_t bits = c->is_unsigned ? little(p, size) : (uint64_t)sign_extended(p, size);
        *wrong = put_integer(c, row, bits, c->is_unsigned);
    }
    return p + size;
}

static int month_days(unsigned year, unsigned month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* *is_null is set where a date that does not exist counts as NULL. */
static const uint8_t *put_moment(column *c, const uint8_t *p, const uint8_t *end, int *wrong, int *is_null) {
    unsigned size = p < end ? *p : 99;
    if ((size != 0 && size != 4 && size != 7 && size != 11) || end - p < 1 + (long)size) {
        *wrong = MALFORMED;
        return p;
    }
    p++;
    unsigned year = size ? (unsigned)little(p, 2) : 0, month = size ? p[2] : 0, day = size ? p[3] : 0;
    int64_t seconds = size >= 7 ? p[4] * 3600 + p[5] * 60 + p[6] : 0;
    int64_t micros = size == 11 ? (int64_t)little(p + 7, 4) : 0;
    p += size;
    if (month < 1 || month > 12 || day < 1 || (int)day > month_days(year, month)) {
        if (c->is_null_zero) *is_null = 1;
        else *wrong = ZERO_DATE;
        return p;
    }
    int64_t days = days_of(year, month, day);
    if (c->carrier == C_DATE) {
        int32_t value = (int32_t)days;
        if (seconds || micros) *wrong = RANGE;
        memcpy(c->data.data + c->data.size, &value, 4);
        c->data.size += 4;
    } else {
        int64_t value = (days * 86400 + seconds) * 1000000 + micros;
        memcpy(c->data.data + c->data.size, &value, 8);
        c->data.size += 8;
    }
    return p;
}

static const uint8_t *put_clock(column *c, const uint8_t *p, const uint8_t *end, int *wrong) {
    unsigned size = p < end ? *p : 99;
    if ((size != 0 && size != 8 && size != 12) || end - p < 1 + (long)size) {
        *wrong = MALFORMED;
        return p;
    }
    p++;
    int64_t value = 0;
    if (size) {
        int64_t seconds = (int64_t)little(p + 1, 4) * 86400 + p[5] * 3600 + p[6] * 60 + p[7];
        value = seconds * 1000000 + (size == 12 ? (int64_t)little(p + 8, 4) : 0);
        if (p[0]) value = -value;
    }
    if (c->carrier == C_TIME && (value < 0 || value >= 86400000000)) *wrong = RANGE;
    memcpy(c->data.data + c->data.size, &value, 8);
    c->data.size += 8;
    return p + size;
}

static const uint8_t *length_of(const uint8_t *p, const uint8_t *end, uint64_t *size) {
    if (p >= end) return NULL;
    int more = *p < 0xfb ? 0 : *p == 0xfc ? 2 : *p == 0xfd ? 3 : *p == 0xfe ? 8 : -1;
    if (more < 0 || end - p < 1 + more) return NULL;
    *size = more ? little(p + 1, more) : *p;
    p += 1 + more;
    return (uint64_t)(end - p) < *size ? NULL : p;
}

static int put_bytes(column *c, size_t row, const uint8_t *p, size_t size) {
    uint64_t limbs[4] = {0, 0, 0, 0};
    int wrong = OK, count = c->carrier == C_DECIMAL128 ? 2 : 4;
    if (c->is_bit) {
        if (size > 8) return RANGE;
        uint64_t bits = 0;
        for (size_t i = 0; i < size; i++) bits = bits << 8 | p[i];
        return put_integer(c, row, bits, 1);
    }
    switch (c->carrier) {
    case C_STRING:
        if (!is_utf8(p, size)) return NOT_UTF8;
        /* fall through */
    case C_BINARY:
        if (buffer_room(&c->data, size)) return NO_MEMORY;
        if (size) memcpy(c->data.data + c->data.size, p, size);
        c->data.size += size;
        return add_offset(c);
    case C_FIXED:
        if (size != (size_t)c->param) return WIDTH;
        memcpy(c->data.data + c->data.size, p, size);
        c->data.size += size;
        return OK;
    case C_UUID:
        wrong = put_uuid(p, size, c->data.data + c->data.size);
        c->data.size += 16;
        return wrong;
    default:
        wrong = put_decimal(p, size, c->param, limbs, count);
        memcpy(c->data.data + c->data.size, limbs, sizeof(uint64_t) * (size_t)count);
        c->data.size += sizeof(uint64_t) * (size_t)count;
        return wrong;
    }
}

static const uint8_t *put_value(column *c, size_t row, const uint8_t *p, const uint8_t *end, int *wrong) {
    if ((*wrong = add_place(c, row, 1))) return p;
    if (buffer_room(&c->data, width_of(c))) {
        *wrong = NO_MEMORY;
        return p;
    }
    int is_null = 0;
    uint64_t size;
    switch (c->shape) {
    case S_MOMENT:
        p = put_moment(c, p, end, wrong, &is_null);
        if (is_null) {
            c->validity.data[row / 8] &= (uint8_t)~(1u << (row % 8));
            c->nulls++;
            memset(c->data.data + c->data.size, 0, width_of(c));
            c->data.size += width_of(c);
        }
        return p;
    case S_CLOCK:
        return put_clock(c, p, end, wrong);
    case S_BYTES: {
        const uint8_t *start = length_of(p, end, &size);
        if (!start) {
            *wrong = MALFORMED;
            return p;
        }
        *wrong = put_bytes(c, row, start, (size_t)size);
        return start + size;
    }
    case S_NULL:
        *wrong = MALFORMED;
        return p;
    default:
        return put_number(c, row, p, end, wrong);
    }
}

static int put_row(decoder *d, const uint8_t *p, size_t size, size_t *at) {
    const uint8_t *end = p + size, *nulls = p + 1;
    size_t map = (d->count + 9) / 8;
    if (size < 1 + map || p[0] != 0) return MALFORMED;
    p += 1 + map;
    for (size_t i = 0; i < d->count; i++) {
        column *c = &d->columns[i];
        size_t before = c->data.size;
        int wrong = OK;
        *at = i;
        if (nulls[(i + 2) / 8] >> ((i + 2) % 8) & 1) wrong = add_null(c, d->rows);
        else p = put_value(c, d->rows, p, end, &wrong);
        if (wrong) return wrong;
        if (has_offsets(c)) d->bytes += c->data.size - before;
    }
    if (p != end) return MALFORMED;
    d->rows++;
    d->total++;
    d->bytes += d->fixed;
    return OK;
}

/* ---- packets */

/* One whole payload at d->at, its pieces of 16 MiB put together: 1 when there is one, 0 when more bytes are needed. */
static int payload(decoder *d, uint8_t **start, size_t *size, size_t *next) {
    uint8_t *data = d->input.data;
    size_t at = d->at, have = d->input.size, whole = 0;
    int pieces = 0;
    for (;;) {
        if (have - at < 4) return 0;
        size_t length = (size_t)little(data + at, 3);
        if (have - at - 4 < length) return 0;
        if (data[at + 3] != (uint8_t)(d->sequence + (unsigned)pieces)) return -1;
        whole += length;
        at += 4 + length;
        pieces++;
        if (length < MAX_PAYLOAD) break;
    }
    *start = data + d->at + 4;
    if (pieces > 1) {
        size_t from = d->at + 4 + MAX_PAYLOAD, to = from;
        for (int i = 1; i < pieces; i++) {
            size_t length = (size_t)little(data + from, 3);
            memmove(data + to, data + from + 4, length);
            from += 4 + length;
            to += length;
        }
    }
    *size = whole;
    *next = at;
    d->sequence += (unsigned)pieces;
    return 1;
}

static int run(decoder *d, int *wrong, size_t *column_at) {
    uint8_t *start;
    size_t size, next;
    for (;;) {
        if (d->rows >= d->batch_rows || d->bytes >= d->batch_bytes) return BATCH;
        int found = payload(d, &start, &size, &next);
        if (found == 0) return MORE;
        if (found < 0 || size == 0) {
            *wrong = MALFORMED;
            return REFUSED;
        }
        d->at = next;
        if (start[0] == 0xfe && size < 9) return END;
        if (start[0] == 0xff) {
            if (buffer_room(&d->refused, size)) *wrong = NO_MEMORY;
            else {
                memcpy(d->refused.data, start, size);
                d->refused.size = size;
            }
            return REFUSED;
        }
        if (d->skipping) continue;
        *wrong = put_row(d, start, size, column_at);
        if (*wrong) return REFUSED;
    }
}

/* ---- the Python type */

static int shape_of(long wire, column *c) {
    switch (wire) {
    case 1: c->shape = S_INT1; return 0;
    case 2: case 13: c->shape = S_INT2; return 0;
    case 3: case 9: c->shape = S_INT4; return 0;
    case 8: c->shape = S_INT8; return 0;
    case 4: c->shape = S_FLOAT; return 0;
    case 5: c->shape = S_DOUBLE; return 0;
    case 7: case 10: case 12: c->shape = S_MOMENT; return 0;
    case 11: c->shape = S_CLOCK; return 0;
    case 6: c->shape = S_NULL; return 0;
    case 16: c->shape = S_BYTES; c->is_bit = 1; return 0;
    default: c->shape = S_BYTES; return wire < 0 || wire > 255;
    }
}

static int is_integer(enum carrier k) {
    return (k >= C_INT8 && k <= C_BOOL) || k == C_DECIMAL128 || k == C_DECIMAL256;
}

static int goes(const column *c) {
    switch (c->shape) {
    case S_INT1: case S_INT2: case S_INT4: case S_INT8: return is_integer(c->carrier);
    case S_FLOAT: return c->carrier == C_FLOAT || c->carrier == C_DOUBLE;
    case S_DOUBLE: return c->carrier == C_FLOAT || c->carrier == C_DOUBLE;
    case S_MOMENT: return c->carrier == C_DATE || c->carrier == C_TIMESTAMP;
    case S_CLOCK: return c->carrier == C_DURATION || c->carrier == C_TIME;
    case S_NULL: return 1;
    default:
        if (c->is_bit) return is_integer(c->carrier);
        return (c->carrier >= C_DECIMAL128 && c->carrier <= C_UUID);
    }
}

static int begin_batch(decoder *d) {
    d->rows = d->bytes = 0;
    for (size_t i = 0; i < d->count; i++) {
        column *c = &d->columns[i];
        c->nulls = 0;
        if (has_offsets(c) && add_offset(c)) return -1;
    }
    return 0;
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *columns;
    Py_ssize_t batch_rows, batch_bytes;
    int sequence;
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Decoder takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!nni", &PyList_Type, &columns, &batch_rows, &batch_bytes, &sequence)) return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    decoder *d = (decoder *)alloc(type, 0);
    if (!d) return NULL;
    d->count = (size_t)PyList_Size(columns);
    d->batch_rows = (size_t)batch_rows;
    d->batch_bytes = (size_t)batch_bytes;
    d->sequence = (unsigned)sequence;
    d->columns = calloc(d->count ? d->count : 1, sizeof(column));
    if (!d->columns) goto memory;
    for (size_t i = 0; i < d->count; i++) {
        column *c = &d->columns[i];
        int wire, carrier;
        if (!PyArg_ParseTuple(PyList_GetItem(columns, (Py_ssize_t)i), "iiiii", &wire, &carrier, &c->param,
                              &c->is_unsigned, &c->is_null_zero))
            goto failed;
        c->carrier = (enum carrier)carrier;
        if (shape_of(wire, c) || !goes(c)) {
            PyErr_Format(row_error, "%d %zu", 0, i);
            goto failed;
        }
        d->fixed += has_offsets(c) ? 4 : width_of(c) ? width_of(c) : 1;
    }
    if (begin_batch(d)) goto memory;
    return (PyObject *)d;
memory:
    PyErr_NoMemory();
failed:
    Py_DECREF(d);
    return NULL;
}

static void decoder_dealloc(PyObject *self) {
    decoder *d = (decoder *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t i = 0; d->columns && i < d->count; i++) {
        buffer_free(&d->columns[i].validity);
        buffer_free(&d->columns[i].data);
        buffer_free(&d->columns[i].offsets);
    }
    free(d->columns);
    buffer_free(&d->input);
    buffer_free(&d->refused);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *decoder_feed(PyObject *self, PyObject *given) {
    decoder *d = (decoder *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(given, &view, PyBUF_SIMPLE)) return NULL;
    if (d->at) {
        memmove(d->input.data, d->input.data + d->at, d->input.size - d->at);
        d->input.size -= d->at;
        d->at = 0;
    }
    int failed = buffer_room(&d->input, (size_t)view.len);
    if (!failed && view.len) {
        memcpy(d->input.data + d->input.size, view.buf, (size_t)view.len);
        d->input.size += (size_t)view.len;
    }
    PyBuffer_Release(&view);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *decoder_run(PyObject *self, PyObject *unused) {
    (void)unused;
    decoder *d = (decoder *)self;
    int wrong = OK, outcome;
    size_t at = 0;
    Py_BEGIN_ALLOW_THREADS
    outcome = run(d, &wrong, &at);
    Py_END_ALLOW_THREADS
    if (wrong == NO_MEMORY) return PyErr_NoMemory();
    if (wrong) {
        PyErr_Format(row_error, "%d %zu %llu", wrong, at, (unsigned long long)d->total);
        return NULL;
    }
    return PyLong_FromLong(outcome);
}

static PyObject *decoder_skip(PyObject *self, PyObject *unused) {
    (void)unused;
    decoder *d = (decoder *)self;
    d->rows = d->bytes = 0;
    d->skipping = 1;
    Py_RETURN_NONE;
}

static PyObject *decoder_take(PyObject *self, PyObject *unused) {
    (void)unused;
    decoder *d = (decoder *)self;
    PyObject *list = PyList_New((Py_ssize_t)d->count);
    if (!list) return NULL;
    size_t rows = d->rows;
    for (size_t i = 0; i < d->count; i++) {
        column *c = &d->columns[i];
        PyObject *validity = block_of(&c->validity), *data = block_of(&c->data);
        PyObject *offsets = has_offsets(c) ? block_of(&c->offsets) : Py_NewRef(Py_None);
        PyObject *one = validity && data && offsets ? Py_BuildValue("(nOOO)", (Py_ssize_t)c->nulls, validity, offsets, data) : NULL;
        Py_XDECREF(validity);
        Py_XDECREF(data);
        Py_XDECREF(offsets);
        if (!one || PyList_SetItem(list, (Py_ssize_t)i, one)) {
            Py_DECREF(list);
            return NULL;
        }
    }
    if (begin_batch(d)) {
        Py_DECREF(list);
        return PyErr_NoMemory();
    }
    PyObject *result = Py_BuildValue("(nN)", (Py_ssize_t)rows, list);
    return result;
}

static PyObject *decoder_rows(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(((decoder *)self)->rows);
}

static PyObject *decoder_refused(PyObject *self, void *unused) {
    (void)unused;
    buffer *b = &((decoder *)self)->refused;
    return PyBytes_FromStringAndSize((const char *)b->data, (Py_ssize_t)b->size);
}

static PyMethodDef decoder_methods[] = {
    {"feed", decoder_feed, METH_O, "feed(data): more bytes of the connection."},
    {"run", decoder_run, METH_NOARGS, "run() -> outcome: decode what has come, at most to the end of a batch."},
    {"skip", decoder_skip, METH_NOARGS, "skip(): pass over the rows that are left."},
    {"take", decoder_take, METH_NOARGS, "take() -> (rows, [(nulls, validity, offsets or None, data)]): the batch so far."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef decoder_values[] = {
    {"rows", decoder_rows, NULL, "Rows of the batch so far.", NULL},
    {"refused", decoder_refused, NULL, "The server's error packet, after outcome REFUSED.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot decoder_slots[] = {
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_values},
    {Py_tp_doc, "Decoder(columns, batch_rows, batch_bytes, sequence): see rows.py."},
    {0, NULL},
};
static PyType_Spec decoder_spec = {
    "penstock.connectors.mysql._rows.Decoder", sizeof(decoder), 0, Py_TPFLAGS_DEFAULT, decoder_slots,
};

PyObject *decoder_type_new(PyObject *module) {
    (void)module;
    uint16_t one = 1;
    if (*(uint8_t *)&one != 1) {
        PyErr_SetString(PyExc_ImportError, "the codec needs a little-endian machine");
        return NULL;
    }
    return PyType_FromSpec(&decoder_spec);
}
