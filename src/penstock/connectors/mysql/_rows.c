/* The compiled codec of the MySQL connector: rows of the binary protocol to Arrow buffers, Arrow buffers to text. */
#include "_rows.h"

#include <stdlib.h>

PyObject *block_type = NULL;
PyObject *row_error = NULL;

/* ---- buffers */

int buffer_room(buffer *b, size_t more) {
    if (b->size + more <= b->room) return 0;
    size_t room = b->room ? b->room : 256;
    while (room < b->size + more) room *= 2;
    uint8_t *data = realloc(b->data, room);
    if (!data) return -1;
    b->data = data;
    b->room = room;
    return 0;
}

void buffer_free(buffer *b) {
    free(b->data);
    b->data = NULL;
    b->size = b->room = 0;
}

/* ---- blocks */

typedef struct {
    PyObject_HEAD
    uint8_t *data;
    size_t size;
} block;

PyObject *block_of(buffer *b) {
    PyTypeObject *type = (PyTypeObject *)block_type;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    block *self = (block *)alloc(type, 0);
    if (!self) return NULL;
    self->data = b->data;
    self->size = b->size;
    b->data = NULL;
    b->size = b->room = 0;
    return (PyObject *)self;
}

static void block_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    free(((block *)self)->data);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int block_get(PyObject *self, Py_buffer *view, int flags) {
    block *b = (block *)self;
    static char nothing;
    return PyBuffer_FillInfo(view, self, b->data ? (void *)b->data : (void *)&nothing, (Py_ssize_t)b->size, 1, flags);
}

static Py_ssize_t block_length(PyObject *self) {
    return (Py_ssize_t)((block *)self)->size;
}

static PyType_Slot block_slots[] = {
    {Py_tp_dealloc, block_dealloc},
    {Py_bf_getbuffer, block_get},
    {Py_sq_length, block_length},
    {Py_tp_doc, "Memory that holds a column's buffer or encoded rows; readable through the buffer protocol."},
    {0, NULL},
};
static PyType_Spec block_spec = {
    "penstock.connectors.mysql._rows.Block", sizeof(block), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    block_slots,
};

/* ---- the calendar: proleptic Gregorian, days since 1970-01-01 */

int64_t days_of(int64_t year, unsigned month, unsigned day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned of_era = (unsigned)(year - era * 400);
    unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + (int64_t)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

void date_of(int64_t days, int64_t *year, unsigned *month, unsigned *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * of_year + 2) / 153;
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

/* ---- module */

static PyMethodDef methods[] = {
    {"encode", encode, METH_VARARGS, "encode(columns, rows, as_insert) -> Block: rows as text for LOAD DATA or INSERT."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    if (!block_type) block_type = PyType_FromSpec(&block_spec);
    if (!row_error) row_error = PyErr_NewException("penstock.connectors.mysql._rows.RowError", PyExc_ValueError, NULL);
    if (!block_type || !row_error) return -1;
    PyObject *decoder = decoder_type_new(module);
    if (!decoder) return -1;
    int failed = PyModule_AddObjectRef(module, "Decoder", decoder) || PyModule_AddObjectRef(module, "Block", block_type) ||
                 PyModule_AddObjectRef(module, "RowError", row_error);
    Py_DECREF(decoder);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "_rows", "Rows of MySQL's binary protocol to Arrow buffers, Arrow buffers to text.", 0, methods,
    module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__rows(void) {
    return PyModuleDef_Init(&module_def);
}
