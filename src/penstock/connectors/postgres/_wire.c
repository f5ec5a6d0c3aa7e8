/* The module: binding to libpq, reading from and writing to connections, errors, and the buffers handed to Python.
 *
 * libpq is not linked. Python finds the copy that psycopg has loaded and passes the addresses of its functions
 * (_libpq.py), because a PGconn may only be used with the library that made it.
 */
#include "_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

const WireKind wire_kinds[KIND_COUNT] = {
    [KIND_BOOL] = {"bool", KIND_BOOL, 1, ARROW_BITS, 16},
    [KIND_INT2] = {"int2", KIND_INT2, 2, 2, 21},
    [KIND_INT4] = {"int4", KIND_INT4, 4, 4, 23},
    [KIND_INT8] = {"int8", KIND_INT8, 8, 8, 20},
    [KIND_OID] = {"oid", KIND_OID, 4, 8, 26},
    [KIND_FLOAT4] = {"float4", KIND_FLOAT4, 4, 4, 700},
    [KIND_FLOAT8] = {"float8", KIND_FLOAT8, 8, 8, 701},
    [KIND_TEXT] = {"text", KIND_TEXT, WIRE_VARIES, ARROW_VARIES, 25},
    [KIND_BYTEA] = {"bytea", KIND_BYTEA, WIRE_VARIES, ARROW_VARIES, 17},
    [KIND_JSONB] = {"jsonb", KIND_JSONB, WIRE_VARIES, ARROW_VARIES, 3802},
    [KIND_DATE] = {"date", KIND_DATE, 4, 4, 1082},
    [KIND_TIME] = {"time", KIND_TIME, 8, 8, 1083},
    [KIND_TIMESTAMP] = {"timestamp", KIND_TIMESTAMP, 8, 8, 1114},
    [KIND_TIMESTAMPTZ] = {"timestamptz", KIND_TIMESTAMPTZ, 8, 8, 1184},
    [KIND_UUID] = {"uuid", KIND_UUID, 16, 16, 2950},
    [KIND_NUMERIC] = {"numeric", KIND_NUMERIC, WIRE_VARIES, 16, 1700},
    [KIND_NUMERIC256] = {"numeric256", KIND_NUMERIC256, WIRE_VARIES, 32, 1700},
};

const uint8_t wire_header[WIRE_HEADER_SIZE] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";

WireLibpq wire_libpq;
PyObject *WireError;

/* ---- errors ------------------------------------------------------------------------------------------------ */

bool wire_fault(WireFault *fault, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(fault->cause, sizeof fault->cause, format, args);
    va_end(args);
    return false;
}

bool wire_no_memory(WireFault *fault)
{
    fault->no_memory = true;
    return false;
}

PyObject *wire_raise(const WireFault *fault)
{
    if (fault->no_memory)
        return PyErr_NoMemory();
    PyObject *args = Py_BuildValue("(iLs)", fault->column, (long long)fault->row, fault->cause);
    if (args != NULL) {
        PyErr_SetObject(WireError, args);
        Py_DECREF(args);
    }
    return NULL;
}

/* ---- growing bytes, and the buffers handed to Python ------------------------------------------------------- */

bool wire_bytes_grow(WireBytes *bytes, size_t more)
{
    size_t space = bytes->space * 2;
    if (space < bytes->used + more)
        space = bytes->used + more;
    if (space < 256)
        space = 256;
    uint8_t *data = realloc(bytes->data, space);
    if (data == NULL)
        return false;
    bytes->data = data;
    bytes->space = space;
    return true;
}

typedef struct {
    PyObject_HEAD
    void *data;
    Py_ssize_t size;
} Buffer;

static PyTypeObject *buffer_type;

static int buffer_get(PyObject *self, Py_buffer *view, int flags)
{
    Buffer *buffer = (Buffer *)self;
    return PyBuffer_FillInfo(view, self, buffer->data, buffer->size, 1, flags);
}

static void buffer_free(PyObject *self)
{
    free(((Buffer *)self)->data);
    wire_free_object(self);
}

static PyType_Slot buffer_slots[] = {
    {Py_tp_doc, "Memory of one Arrow buffer; read it through the buffer protocol."},
    {Py_tp_dealloc, buffer_free},
    {Py_bf_getbuffer, buffer_get},
    {0, NULL},
};

static PyType_Spec buffer_spec = {
    .name = "penstock.connectors.postgres._wire.Buffer",
    .basicsize = sizeof(Buffer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = buffer_slots,
};

PyObject *wire_buffer(void *data, size_t size)
{
    Buffer *buffer = (Buffer *)PyType_GenericAlloc(buffer_type, 0);
    if (buffer == NULL) {
        free(data);
        return NULL;
    }
    buffer->data = data;
    buffer->size = (Py_ssize_t)size;
    return (PyObject *)buffer;
}

/* ---- reading from a connection ----------------------------------------------------------------------------- */

int64_t wire_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

PGconn *wire_connection(PyObject *address)
{
    if (wire_libpq.get_copy_data == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "bind() has not been called");
        return NULL;
    }
    PGconn *conn = PyLong_AsVoidPtr(address);
    if (conn == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the connection is closed");
    return conn;
}

void wire_source_open(WireSource *source, PGconn *conn)
{
    *source = (WireSource){.conn = conn, .encrypted = wire_libpq.ssl_in_use(conn) != 0};
}

int wire_source_next(WireSource *source, char **message)
{
    for (;;) {
        int size = wire_libpq.get_copy_data(source->conn, message, 1);
        if (size > 0)
            source->tries = 0;
        if (size == 0 && source->lost)
            return -2;
        /* With TLS the library may hold decrypted bytes that no poll() shows: the rest of a 16 KB record of which
         * libpq's buffer took 8 KB. Two reads empty it. */
        if (size != 0 || !source->encrypted || source->tries >= 2)
            return size;
        source->tries++;
        wire_source_read(source);
    }
}

void wire_source_read(WireSource *source)
{
    /* After a failure libpq keeps what had arrived before, often the server's last words: go on taking messages. */
    if (!wire_libpq.consume_input(source->conn))
        source->lost = true;
}

bool wire_source_wait(WireSource *source, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - wire_now_ms();
    if (left_ms <= 0)
        return false;
    struct pollfd ready = {.fd = wire_libpq.socket(source->conn), .events = POLLIN};
    if (ready.fd < 0) {
        source->lost = true;
        return true;
    }
    if (poll(&ready, 1, (int)left_ms) <= 0)
        return false;
    source->tries = 0;
    wire_source_read(source);
    return true;
}

/* ---- writing to a connection ------------------------------------------------------------------------------- */

/* The most that one PQputCopyData gets. libpq moves what the kernel did not take to the front of its buffer after
 * each send, so much larger pieces cost more, and smaller ones cost more messages. */
#define PUT_SIZE ((size_t)128 * 1024)

WireOutcome wire_put(PGconn *conn, const uint8_t *data, size_t size, size_t *sent)
{
    for (;;) {
        /* In non-blocking mode PQputCopyData takes everything and buffers without bound. Back-pressure comes from
         * PQflush: nothing is put before all that was put earlier is with the kernel. */
        int flushed = wire_libpq.flush(conn);
        if (flushed != 0)
            return flushed < 0 ? WIRE_REFUSED : WIRE_SLICE;
        if (*sent == size)
            return WIRE_DONE;
        size_t piece = size - *sent < PUT_SIZE ? size - *sent : PUT_SIZE;
        int taken = wire_libpq.put_copy_data(conn, (const char *)data + *sent, (int)piece);
        if (taken < 0)
            return WIRE_REFUSED;
        if (taken == 0)
            return WIRE_SLICE;
        *sent += piece;
    }
}

/* Look at the next `size` bytes from the server without taking them; how many are there, or less than 1. */
static long peek(PGconn *conn, uint8_t *start, size_t size)
{
    if (!wire_libpq.ssl_in_use(conn))
        return (long)recv(wire_libpq.socket(conn), start, size, MSG_PEEK | MSG_DONTWAIT);
    if (wire_libpq.ssl_struct == NULL || wire_libpq.ssl_peek == NULL)
        return -1;
    void *ssl = wire_libpq.ssl_struct(conn, "OpenSSL");
    return ssl == NULL ? -1 : wire_libpq.ssl_peek(ssl, start, (int)size);
}

bool wire_target_failed(PGconn *conn)
{
    /* libpq keeps an ErrorResponse to itself until PQputCopyEnd, and the server swallows all data meanwhile. So look
     * at what is about to arrive: 'E', a length, 'S' for the severity field. An error that is missed here (encryption
     * by GSSAPI, or libpq has read it) shows at the end of the COPY. */
    uint8_t start[6];
    if (peek(conn, start, sizeof start) == (long)sizeof start && start[0] == 'E' && start[5] == 'S' && wire_get32(start + 1) < 65536)
        return true;
    /* A notice, or the end of the connection. Reading is needed for either: libpq pretends that writes succeed on a
     * broken connection for as long as there may be an error message to read. */
    return !wire_libpq.consume_input(conn);
}

/* ---- functions of the module ------------------------------------------------------------------------------- */

static PyObject *module_bind(PyObject *Py_UNUSED(module), PyObject *addresses)
{
    const struct { const char *name; void *slot; } wanted[] = {
        {"PQgetCopyData", &wire_libpq.get_copy_data}, {"PQfreemem", &wire_libpq.freemem},
        {"PQconsumeInput", &wire_libpq.consume_input}, {"PQsocket", &wire_libpq.socket},
        {"PQputCopyData", &wire_libpq.put_copy_data}, {"PQflush", &wire_libpq.flush},
        {"PQsslInUse", &wire_libpq.ssl_in_use}, {"PQsslStruct", &wire_libpq.ssl_struct},
        {"SSL_peek", &wire_libpq.ssl_peek},
    };
    void *found[sizeof wanted / sizeof *wanted];
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        PyObject *address = PyMapping_GetItemString(addresses, wanted[i].name);
        if (address == NULL)
            return NULL;
        found[i] = PyLong_AsVoidPtr(address);
        Py_DECREF(address);
        if (found[i] == NULL && PyErr_Occurred())
            return NULL;
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        memcpy(wanted[i].slot, &found[i], sizeof found[i]);
    Py_RETURN_NONE;
}

static PyObject *module_discard(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address;
    int timeout_ms;
    if (!PyArg_ParseTuple(args, "Oi:discard", &address, &timeout_ms))
        return NULL;
    WireSource source;
    PGconn *conn = wire_connection(address);
    if (conn == NULL)
        return NULL;
    WireOutcome outcome;
    Py_BEGIN_ALLOW_THREADS
    int64_t deadline_ms = wire_now_ms() + timeout_ms;
    wire_source_open(&source, conn);
    for (;;) {
        char *message;
        int size = wire_source_next(&source, &message);
        if (size > 0) {
            wire_libpq.freemem(message);
        } else if (size < 0) {
            outcome = size == -1 ? WIRE_ENDED : WIRE_LOST;
            break;
        } else if (!wire_source_wait(&source, deadline_ms)) {
            outcome = WIRE_SLICE;
            break;
        }
    }
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(outcome);
}

static PyMethodDef module_methods[] = {
    {"bind", module_bind, METH_O, "Set the addresses of libpq's functions: a mapping of name to int; 0 where PQsslStruct or SSL_peek is missing."},
    {"discard", module_discard, METH_VARARGS,
     "discard(connection, timeout_ms) -> outcome: read a COPY OUT to its end and throw it away."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_wire",
    .m_doc = "PostgreSQL binary COPY to and from Arrow buffers, and from connection to connection.",
    .m_size = -1,
    .m_methods = module_methods,
};

PyTypeObject *wire_add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type != NULL && PyModule_AddObjectRef(module, strrchr(spec->name, '.') + 1, type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

void wire_free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* KINDS: name -> (code, element oid), so that Python reads the one table above. */
static int add_kinds(PyObject *module)
{
    PyObject *kinds = PyDict_New();
    for (int i = 0; kinds != NULL && i < KIND_COUNT; i++) {
        PyObject *entry = Py_BuildValue("(ik)", i, (unsigned long)wire_kinds[i].oid);
        if (entry == NULL || PyDict_SetItemString(kinds, wire_kinds[i].name, entry) < 0)
            Py_CLEAR(kinds);
        Py_XDECREF(entry);
    }
    int failed = kinds == NULL || PyModule_AddObjectRef(module, "KINDS", kinds) < 0;
    Py_XDECREF(kinds);
    return failed ? -1 : 0;
}

static int add_outcomes(PyObject *module)
{
    const struct { const char *name; WireOutcome value; } outcomes[] = {
        {"SLICE", WIRE_SLICE}, {"BATCH", WIRE_BATCH}, {"ENDED", WIRE_ENDED}, {"DONE", WIRE_DONE},
        {"LOST", WIRE_LOST}, {"REFUSED", WIRE_REFUSED},
    };
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        if (PyModule_AddIntConstant(module, outcomes[i].name, outcomes[i].value) < 0)
            return -1;
    return 0;
}

PyMODINIT_FUNC PyInit__wire(void)
{
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL)
        return NULL;
    WireError = PyErr_NewExceptionWithDoc(
        "penstock.connectors.postgres._wire.WireError",
        "args: column (from 0; -1 is the stream), row within the COPY (from 1), cause", PyExc_ValueError, NULL);
    buffer_type = wire_add_type(module, &buffer_spec);
    if (WireError == NULL || buffer_type == NULL || PyModule_AddObjectRef(module, "WireError", WireError) < 0
        || add_kinds(module) < 0 || add_outcomes(module) < 0 || wire_add_decoder(module) < 0
        || wire_add_encoder(module) < 0 || wire_add_pump(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
