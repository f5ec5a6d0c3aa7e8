/* Arrow buffers as text that the server reads: lines for LOAD DATA, or the rows of an INSERT. */
#include "_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum unit { U_S = 0, U_MS = 3, U_US = 6, U_NS = 9 };

typedef struct {
    enum carrier carrier;
    int param;
    int64_t offset;
    const uint8_t *validity, *values, *data;
    Py_buffer views[3];
    int held;
} source;

static inline int is_valid(const source *s, int64_t row) {
    int64_t at = s->offset + row;
    return !s->validity || (s->validity[at >> 3] >> (at & 7) & 1);
}

static inline void put(buffer *b, const char *text, size_t size) {
    memcpy(b->data + b->size, text, size);
    b->size += size;
}

static void put_unsigned(buffer *b, uint64_t value) {
    char text[20];
    int at = 20;
    do text[--at] = (char)('0' + value % 10);
    while (value /= 10);
    put(b, text + at, (size_t)(20 - at));
}

static void put_signed(buffer *b, int64_t value) {
    if (value < 0) b->data[b->size++] = '-';
    put_unsigned(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static void put_digits(buffer *b, uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--) {
        b->data[b->size + (size_t)i] = (uint8_t)('0' + value % 10);
        value /= 10;
    }
    b->size += (size_t)digits;
}

static void put_double(buffer *b, double value) {
    if (value == floor(value) && fabs(value) < 1e15 && !(value == 0 && signbit(value))) {
        put_signed(b, (int64_t)value);
        return;
    }
    int size = snprintf((char *)b->data + b->size, 40, "%.17g", value);
    for (int i = 0; i < size; i++)
        if (b->data[b->size + (size_t)i] == ',') b->data[b->size + (size_t)i] = '.';
    b->size += (size_t)size;
}

static void put_decimal(buffer *b, const uint8_t *value, int limbs, int scale) {
    uint64_t words[4];
    memcpy(words, value, (size_t)limbs * 8);
    int negative = (int)(words[limbs - 1] >> 63);
    if (negative) {
        unsigned __int128 carry = 1;
        for (int i = 0; i < limbs; i++) {
            carry += (uint64_t)~words[i];
            words[i] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    char text[100];
    int at = 100, left = limbs;
    while (left && !words[left - 1]) left--;
    while (left) {
        unsigned __int128 rest = 0;
        for (int i = left - 1; i >= 0; i--) {
            rest = rest << 64 | words[i];
            words[i] = (uint64_t)(rest / 1000000000000000000u);
            rest %= 1000000000000000000u;
        }
        while (left && !words[left - 1]) left--;
        uint64_t part = (uint64_t)rest;
        for (int i = 0; i < 18 && (left || part); i++) {
            text[--at] = (char)('0' + part % 10);
            part /= 10;
        }
    }
    int digits = 100 - at;
    while (digits <= scale) {
        text[--at] = '0';
        digits++;
    }
    if (!digits) text[--at] = '0', digits = 1;
    if (negative) b->data[b->size++] = '-';
    put(b, text + at, (size_t)(digits - scale));
    if (scale) {
        b->data[b->size++] = '.';
        put(b, text + 100 - scale, (size_t)scale);
    }
}

static void put_date(buffer *b, int64_t days) {
    int64_t year;
    unsigned month, day;
    date_of(days, &year, &month, &day);
    put_digits(b, (uint64_t)year, 4);
    b->data[b->size++] = '-';
    put_digits(b, month, 2);
    b->data[b->size++] = '-';
    put_digits(b, day, 2);
}

static int64_t in_micros(int64_t ticks, int unit) {
    if (unit == U_S) return ticks * 1000000;
    if (unit == U_MS) return ticks * 1000;
    if (unit == U_US) return ticks;
    return ticks >= 0 ? ticks / 1000 : -((-ticks + 999) / 1000);
}

/* Hours may have more than two digits. */
static void put_clock(buffer *b, int64_t micros) {
    if (micros < 0) b->data[b->size++] = '-';
    uint64_t left = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    uint64_t hours = left / 3600000000u;
    if (hours < 10) b->data[b->size++] = '0';
    put_unsigned(b, hours);
    b->data[b->size++] = ':';
    put_digits(b, left / 60000000 % 60, 2);
    b->data[b->size++] = ':';
    put_digits(b, left / 1000000 % 60, 2);
    if (left % 1000000) {
        b->data[b->size++] = '.';
        put_digits(b, left % 1000000, 6);
    }
}

static void put_timestamp(buffer *b, int64_t micros) {
    int64_t days = micros / 86400000000;
    if (micros < 0 && days * 86400000000 != micros) days--;
    put_date(b, days);
    b->data[b->size++] = ' ';
    put_clock(b, micros - days * 86400000000);
}

/* With room for twice the bytes. */
static void put_escaped(buffer *b, const uint8_t *p, size_t size, int as_insert) {
    uint8_t *out = b->data + b->size;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = p[i];
        if (c == '\\' || (as_insert ? c == '\'' : (c == '\t' || c == '\n'))) {
            *out++ = '\\';
            *out++ = c == '\n' ? 'n' : c == '\t' ? 't' : c;
        } else if (c == 0) {
            *out++ = '\\';
            *out++ = '0';
        } else {
            *out++ = c;
        }
    }
    b->size = (size_t)(out - b->data);
}

static void bytes_at(const source *s, int64_t at, const uint8_t **p, size_t *size) {
    if (s->carrier == C_FIXED || s->carrier == C_UUID) {
        *size = (size_t)s->param;
        *p = s->values + at * s->param;
    } else if (s->carrier == C_LARGE_STRING || s->carrier == C_LARGE_BINARY) {
        const int64_t *ends = (const int64_t *)s->values;
        *p = s->data + ends[at];
        *size = (size_t)(ends[at + 1] - ends[at]);
    } else {
        const int32_t *ends = (const int32_t *)s->values;
        *p = s->data + ends[at];
        *size = (size_t)(ends[at + 1] - ends[at]);
    }
}

#define AT(type) (((const type *)s->values)[at])

static int put_value(buffer *b, const source *s, int64_t row, int as_insert) {
    if (buffer_room(b, 160)) return -1;
    if (!is_valid(s, row)) {
        put(b, as_insert ? "NULL" : "\\N", as_insert ? 4 : 2);
        return 0;
    }
    int64_t at = s->offset + row;
    int quoted = as_insert && s->carrier >= C_STRING;
    if (quoted) {
        int is_bytes = s->carrier == C_BINARY || s->carrier == C_LARGE_BINARY || s->carrier == C_FIXED || s->carrier == C_UUID;
        put(b, "_binary'", 8);
        if (!is_bytes) {
            b->size -= 8;
            b->data[b->size++] = '\'';
        }
    }
    switch (s->carrier) {
    case C_INT8: put_signed(b, AT(int8_t)); break;
    case C_UINT8: put_unsigned(b, AT(uint8_t)); break;
    case C_INT16: put_signed(b, AT(int16_t)); break;
    case C_UINT16: put_unsigned(b, AT(uint16_t)); break;
    case C_INT32: put_signed(b, AT(int32_t)); break;
    case C_UINT32: put_unsigned(b, AT(uint32_t)); break;
    case C_INT64: put_signed(b, AT(int64_t)); break;
    case C_UINT64: put_unsigned(b, AT(uint64_t)); break;
    case C_BOOL: b->data[b->size++] = (uint8_t)('0' + (s->values[at >> 3] >> (at & 7) & 1)); break;
    case C_FLOAT: put_double(b, AT(float)); break; /* exact: the server compares with the type's limits before it rounds */
    case C_DOUBLE: put_double(b, AT(double)); break;
    case C_DECIMAL128: put_decimal(b, s->values + at * 16, 2, s->param); break;
    case C_DECIMAL256: put_decimal(b, s->values + at * 32, 4, s->param); break;
    case C_DATE: put_date(b, AT(int32_t)); break;
    case C_TIMESTAMP: put_timestamp(b, in_micros(AT(int64_t), s->param)); break;
    case C_DURATION: case C_TIME: put_clock(b, in_micros(AT(int64_t), s->param)); break;
    default: {
        const uint8_t *p;
        size_t size;
        bytes_at(s, at, &p, &size);
        if (buffer_room(b, 2 * size + 16)) return -1;
        put_escaped(b, p, size, as_insert);
    }
    }
    if (quoted) b->data[b->size++] = '\'';
    return 0;
}

static int put_rows(buffer *b, const source *sources, Py_ssize_t count, Py_ssize_t rows, int as_insert) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        if (buffer_room(b, 8)) return -1;
        if (as_insert) put(b, row ? ",(" : "(", row ? 2 : 1);
        for (Py_ssize_t i = 0; i < count; i++) {
            if (i) b->data[b->size++] = as_insert ? ',' : '\t';
            if (put_value(b, &sources[i], row, as_insert) || buffer_room(b, 4)) return -1;
        }
        b->data[b->size++] = as_insert ? ')' : '\n';
    }
    return 0;
}

static int look_into(PyObject *given, source *s) {
    PyObject *objects[3];
    int carrier;
    long long offset;
    if (!PyArg_ParseTuple(given, "iiLOOO", &carrier, &s->param, &offset, &objects[0], &objects[1], &objects[2])) return -1;
    s->carrier = (enum carrier)carrier;
    s->offset = offset;
    const uint8_t *found[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++) {
        s->views[i].obj = NULL;
        if (objects[i] == Py_None) continue;
        if (PyObject_GetBuffer(objects[i], &s->views[i], PyBUF_SIMPLE)) return -1;
        found[i] = s->views[i].buf;
    }
    s->validity = found[0];
    s->values = found[1];
    s->data = found[2];
    return 0;
}

PyObject *encode(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *columns, *result = NULL;
    Py_ssize_t rows;
    int as_insert, failed = 0;
    if (!PyArg_ParseTuple(args, "O!np", &PyList_Type, &columns, &rows, &as_insert)) return NULL;
    Py_ssize_t count = PyList_Size(columns), ready = 0;
    source *sources = calloc((size_t)(count ? count : 1), sizeof(source));
    if (!sources) return PyErr_NoMemory();
    buffer out = {NULL, 0, 0};
    for (; ready < count; ready++)
        if (look_into(PyList_GetItem(columns, ready), &sources[ready])) {
            ready++;
            goto done;
        }
    Py_BEGIN_ALLOW_THREADS
    failed = put_rows(&out, sources, count, rows, as_insert);
    Py_END_ALLOW_THREADS
    result = failed ? PyErr_NoMemory() : block_of(&out);
done:
    for (Py_ssize_t i = 0; i < ready; i++)
        for (int k = 0; k < 3; k++)
            if (sources[i].views[k].obj) PyBuffer_Release(&sources[i].views[k]);
    free(sources);
    buffer_free(&out);
    return result;
}
