/* What the parts of the codec share: blocks of memory that Python can look into, growable buffers, kinds of values. */
#ifndef PENSTOCK_MYSQL_ROWS_H
#define PENSTOCK_MYSQL_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Carriers; the numbers are those of _codes.py. */
enum carrier {
    C_INT8 = 1, C_UINT8, C_INT16, C_UINT16, C_INT32, C_UINT32, C_INT64, C_UINT64,
    C_BOOL, C_FLOAT, C_DOUBLE, C_DECIMAL128, C_DECIMAL256,
    C_STRING, C_BINARY, C_FIXED, C_UUID, C_DATE, C_TIMESTAMP, C_DURATION, C_TIME,
    C_LARGE_STRING, C_LARGE_BINARY
};

typedef struct {
    uint8_t *data;
    size_t size, room;
} buffer;

int buffer_room(buffer *b, size_t more);
void buffer_free(buffer *b);

extern PyObject *block_type;
extern PyObject *row_error;

/* Gives the buffer's memory to a new Block; the buffer is empty afterwards. */
PyObject *block_of(buffer *b);

PyObject *decoder_type_new(PyObject *module);
PyObject *encode(PyObject *module, PyObject *args);

int64_t days_of(int64_t year, unsigned month, unsigned day);
void date_of(int64_t days, int64_t *year, unsigned *month, unsigned *day);

#endif
