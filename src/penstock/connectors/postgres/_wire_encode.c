/* Encoder: Arrow buffers become rows of binary COPY, which go to a connection in large pieces. */
#include "_wire.h"

#include <poll.h>

/* Rows are gathered to at least this size before they are handed to libpq. */
#define GATHER_SIZE ((size_t)128 * 1024)

/* An array of a batch. All positions count from `offset`, as Arrow's slices do. The memory belongs to Python. */
typedef struct Values {
    const WireKind *kind;     /* of an array: of its elements */
    bool is_array;
    int scale;
    uint32_t item_oid;
    int64_t offset;
    const uint8_t *validity;  /* bits, or NULL: no NULLs */
    const int32_t *offsets;
    const uint8_t *data;
    struct Values *items;     /* of an array: its elements, else NULL */
} Values;

typedef struct {
    PyObject_HEAD
    Values *columns;
    int count;
    int64_t batch_rows, next;   /* of the batch loaded */
    int64_t rows;               /* encoded so far, all batches */
    WireBytes out;
    size_t sent;
    bool busy, failed;
    WireFault fault;
} Encoder;

static PyTypeObject *encoder_type;

/* ---- values ------------------------------------------------------------------------------------------------ */

static bool is_null(const Values *values, int64_t i)
{
    i += values->offset;
    return values->validity != NULL && !(values->validity[i / 8] >> (i % 8) & 1);
}

static bool encode_date(int32_t days, uint8_t *p, WireFault *fault)
{
    if (days == INT32_MAX || days == -INT32_MAX)
        days = days > 0 ? INT32_MAX : INT32_MIN;
    else if (days <= INT32_MIN + WIRE_UNIX_EPOCH_DAYS)
        return wire_fault(fault, "date is %d days from 1970-01-01, which PostgreSQL cannot store", (int)days);
    else
        days -= WIRE_UNIX_EPOCH_DAYS;
    wire_set32(p, (uint32_t)days);
    return true;
}

static bool encode_timestamp(int64_t us, uint8_t *p, WireFault *fault)
{
    if (us == INT64_MAX || us == -INT64_MAX)
        us = us > 0 ? INT64_MAX : INT64_MIN;
    else if (us <= INT64_MIN + WIRE_UNIX_EPOCH_US)
        return wire_fault(fault, "timestamp is %lld microseconds from 1970-01-01, which PostgreSQL cannot store",
                          (long long)us);
    else
        us -= WIRE_UNIX_EPOCH_US;
    wire_set64(p, (uint64_t)us);
    return true;
}

static bool encode_time(int64_t us, uint8_t *p, WireFault *fault)
{
    if (us < 0 || us > WIRE_DAY_US)
        return wire_fault(fault, "time is %lld microseconds after midnight", (long long)us);
    wire_set64(p, (uint64_t)us);
    return true;
}

static bool encode_oid(int64_t oid, uint8_t *p, WireFault *fault)
{
    if (oid < 0 || oid > UINT32_MAX)
        return wire_fault(fault, "value %lld is not an oid (0 to 4294967295)", (long long)oid);
    wire_set32(p, (uint32_t)oid);
    return true;
}

/* Write a field of a kind whose values vary in size; the caller has reserved only the length word. */
static bool encode_varying(const Values *values, int64_t i, WireBytes *out, WireFault *fault)
{
    const int32_t *offsets = values->offsets + values->offset + i;
    const uint32_t version = values->kind->code == KIND_JSONB, size = (uint32_t)(offsets[1] - offsets[0]);
    if (size > WIRE_MAX_FIELD - version)
        return wire_fault(fault, "value has %u bytes; PostgreSQL stores at most 1 GiB", (unsigned)size);
    if (!wire_bytes_reserve(out, 4 + version + size))
        return wire_no_memory(fault);
    uint8_t *p = out->data + out->used;
    wire_set32(p, version + size);
    p[4] = 1;   /* the version of jsonb; overwritten for the other kinds */
    if (size > 0)
        memcpy(p + 4 + version, values->data + offsets[0], size);
    out->used += 4 + version + size;
    return true;
}

/* Arrow's buffers may start at any address. */
static uint16_t load16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static uint32_t load32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static uint64_t load64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }

/* Write the value only; there is room for WIRE_NUMERIC_MAX bytes. Returns its size, or -1 after a fault. */
static int encode_fixed(const Values *values, int64_t i, uint8_t *p, WireFault *fault)
{
    i += values->offset;
    const uint8_t *const slot = values->data + i * values->kind->arrow_size;
    const int size = values->kind->wire_size;
    switch (values->kind->code) {
    case KIND_BOOL:
        *p = values->data[i / 8] >> (i % 8) & 1;
        return size;
    case KIND_INT2:
        wire_set16(p, load16(slot));
        return size;
    case KIND_INT4:
    case KIND_FLOAT4:
        wire_set32(p, load32(slot));
        return size;
    case KIND_INT8:
    case KIND_FLOAT8:
        wire_set64(p, load64(slot));
        return size;
    case KIND_OID:
        return encode_oid((int64_t)load64(slot), p, fault) ? size : -1;
    case KIND_DATE:
        return encode_date((int32_t)load32(slot), p, fault) ? size : -1;
    case KIND_TIME:
        return encode_time((int64_t)load64(slot), p, fault) ? size : -1;
    case KIND_TIMESTAMP:
    case KIND_TIMESTAMPTZ:
        return encode_timestamp((int64_t)load64(slot), p, fault) ? size : -1;
    case KIND_UUID:
        memcpy(p, slot, 16);
        return size;
    case KIND_NUMERIC:
        return wire_encode_narrow(slot, values->scale, p);
    case KIND_NUMERIC256:
        return wire_encode_wide(slot, values->scale, p);
    case KIND_TEXT:
    case KIND_BYTEA:
    case KIND_JSONB:
    case KIND_COUNT:
        break;
    }
    wire_fault(fault, "%s has no fixed size", values->kind->name);
    return -1;
}

static bool encode_field(const Values *values, int64_t i, WireBytes *out, WireFault *fault);

/* The layout is described at read_array_header in _wire_column.c. */
static bool encode_array(const Values *values, int64_t i, WireBytes *out, WireFault *fault)
{
    const int64_t first = values->offsets[values->offset + i], end = values->offsets[values->offset + i + 1];
    const size_t start = out->used;
    uint32_t has_null = 0;
    if (!wire_bytes_reserve(out, 24))
        return wire_no_memory(fault);
    out->used += end > first ? 24 : 16;
    for (int64_t item = first; item < end; item++) {
        has_null |= is_null(values->items, item);
        if (!encode_field(values->items, item, out, fault))
            return false;
        if (out->used - start - 4 > WIRE_MAX_FIELD)
            return wire_fault(fault, "array needs more than 1 GiB, the most that PostgreSQL stores");
    }
    uint8_t *p = out->data + start;
    wire_set32(p, (uint32_t)(out->used - start - 4));
    wire_set32(p + 4, end > first);   /* dimensions */
    wire_set32(p + 8, has_null);
    wire_set32(p + 12, values->item_oid);
    if (end > first) {
        wire_set32(p + 16, (uint32_t)(end - first));
        wire_set32(p + 20, 1);        /* lower bound */
    }
    return true;
}

static bool encode_field(const Values *values, int64_t i, WireBytes *out, WireFault *fault)
{
    if (!wire_bytes_reserve(out, 4 + WIRE_NUMERIC_MAX))
        return wire_no_memory(fault);
    if (is_null(values, i)) {
        wire_set32(out->data + out->used, UINT32_MAX);
        out->used += 4;
        return true;
    }
    if (values->is_array)
        return encode_array(values, i, out, fault);
    if (values->kind->arrow_size == ARROW_VARIES)
        return encode_varying(values, i, out, fault);
    const int size = encode_fixed(values, i, out->data + out->used + 4, fault);
    if (size < 0)
        return false;
    wire_set32(out->data + out->used, (uint32_t)size);
    out->used += 4 + (size_t)size;
    return true;
}

static bool append(Encoder *encoder, const void *data, size_t size)
{
    if (!wire_bytes_reserve(&encoder->out, size))
        return wire_no_memory(&encoder->fault);
    memcpy(encoder->out.data + encoder->out.used, data, size);
    encoder->out.used += size;
    return true;
}

/* Encode rows of the batch until `size` bytes are gathered or the batch ends. */
static bool encode_rows(Encoder *encoder, size_t size)
{
    WireFault *fault = &encoder->fault;
    uint8_t fields[2];
    wire_set16(fields, (uint16_t)encoder->count);
    while (encoder->next < encoder->batch_rows && encoder->out.used < size) {
        fault->row = encoder->rows + 1;
        if (!append(encoder, fields, sizeof fields))
            return false;
        for (int i = 0; i < encoder->count; i++) {
            fault->column = i;
            if (!encode_field(&encoder->columns[i], encoder->next, &encoder->out, fault))
                return false;
        }
        encoder->next++;
        encoder->rows++;
    }
    return true;
}

/* ---- sending ----------------------------------------------------------------------------------------------- */

/* Wait until the connection takes more bytes; its server may send notices, or an error, at any time. */
static WireOutcome wait_for_target(PGconn *conn, short events, int64_t left_ms)
{
    struct pollfd ready = {.fd = wire_libpq.socket(conn), .events = events};
    if (ready.fd < 0)
        return WIRE_REFUSED;
    if (poll(&ready, 1, left_ms > 0 ? (int)left_ms : 0) > 0 && (ready.revents & (POLLIN | POLLHUP | POLLERR))
        && wire_target_failed(conn))
        return WIRE_REFUSED;
    return WIRE_SLICE;
}

/* Encode and send what is loaded. WIRE_DONE: libpq has everything and has passed it on. */
static WireOutcome encode_and_send(Encoder *encoder, PGconn *conn, int64_t deadline_ms)
{
    for (;;) {
        if (encoder->sent == encoder->out.used) {
            encoder->out.used = encoder->sent = 0;
            if (!encode_rows(encoder, GATHER_SIZE))
                return WIRE_FAULT;
            if (wait_for_target(conn, POLLIN, 0) == WIRE_REFUSED)
                return WIRE_REFUSED;
        }
        const WireOutcome put = wire_put(conn, encoder->out.data, encoder->out.used, &encoder->sent);
        if (put == WIRE_REFUSED || (put == WIRE_DONE && encoder->next == encoder->batch_rows))
            return put;
        const int64_t left_ms = deadline_ms - wire_now_ms();
        if (left_ms <= 0)
            return WIRE_SLICE;
        if (put == WIRE_SLICE && wait_for_target(conn, POLLIN | POLLOUT, left_ms) == WIRE_REFUSED)
            return WIRE_REFUSED;
    }
}

/* ---- loading ----------------------------------------------------------------------------------------------- */

/* PostgreSQL's text cannot contain a zero byte. Looks at all bytes at once; at single values only if one is found. */
static bool check_text(const Values *values, int64_t first, int64_t end, WireFault *fault)
{
    if (values->kind->code != KIND_TEXT && values->kind->code != KIND_JSONB)
        return true;
    if (end == first)
        return true;
    const int32_t *offsets = values->offsets + values->offset;
    if (memchr(values->data + offsets[first], 0, (size_t)(offsets[end] - offsets[first])) == NULL)
        return true;
    for (int64_t i = first; i < end; i++) {
        const int32_t size = offsets[i + 1] - offsets[i];
        if (is_null(values, i) || memchr(values->data + offsets[i], 0, (size_t)size) == NULL)
            continue;
        fault->row = i;
        return wire_fault(fault, "text contains a zero byte, which PostgreSQL cannot store");
    }
    return true;
}

static bool check_column(const Values *values, int64_t rows, WireFault *fault)
{
    if (!values->is_array)
        return check_text(values, 0, rows, fault);
    const int32_t *offsets = values->offsets + values->offset;
    for (int64_t i = 0; i < rows; i++) {
        if (!is_null(values, i) && !check_text(values->items, offsets[i], offsets[i + 1], fault)) {
            fault->row = i;
            return false;
        }
    }
    return true;
}

static bool check_batch(Encoder *encoder)
{
    for (int i = 0; i < encoder->count; i++) {
        encoder->fault.column = i;
        if (!check_column(&encoder->columns[i], encoder->batch_rows, &encoder->fault)) {
            encoder->fault.row += encoder->rows + 1;
            return false;
        }
    }
    return true;
}

/* (offset, validity, offsets, data, items): addresses as ints, 0 for none; items is such a tuple or None. */
static bool load_values(Values *values, PyObject *spec)
{
    long long offset;
    unsigned long long validity, offsets, data;
    PyObject *items;
    if (!PyArg_ParseTuple(spec, "LKKKO:values", &offset, &validity, &offsets, &data, &items))
        return false;
    values->offset = offset;
    values->validity = (const uint8_t *)(uintptr_t)validity;
    values->offsets = (const int32_t *)(uintptr_t)offsets;
    values->data = (const uint8_t *)(uintptr_t)data;
    return values->items == NULL || load_values(values->items, items);
}

/* ---- the Python type --------------------------------------------------------------------------------------- */

static bool enter(Encoder *encoder)
{
    if (encoder->busy)
        PyErr_SetString(PyExc_RuntimeError, "the encoder is in use by another thread");
    else if (encoder->failed)
        wire_raise(&encoder->fault);
    else
        return encoder->busy = true;
    return false;
}

static bool leave(Encoder *encoder, bool good)
{
    encoder->busy = false;
    if (good)
        return true;
    encoder->failed = true;
    wire_raise(&encoder->fault);
    return false;
}

static PyObject *encoder_load(PyObject *self, PyObject *args)
{
    Encoder *encoder = (Encoder *)self;
    long long rows;
    PyObject *specs;
    bool good;
    if (!PyArg_ParseTuple(args, "LO!:load", &rows, &PyList_Type, &specs))
        return NULL;
    if (PyList_Size(specs) != encoder->count || rows < 0 || encoder->next != encoder->batch_rows) {
        PyErr_Format(PyExc_ValueError, "got %zd columns for %d, or the last batch has not been sent",
                     PyList_Size(specs), encoder->count);
        return NULL;
    }
    for (int i = 0; i < encoder->count; i++)
        if (!load_values(&encoder->columns[i], PyList_GetItem(specs, i)))
            return NULL;
    if (!enter(encoder))
        return NULL;
    encoder->batch_rows = rows;
    encoder->next = 0;
    Py_BEGIN_ALLOW_THREADS
    good = check_batch(encoder);
    Py_END_ALLOW_THREADS
    return leave(encoder, good) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *encoder_run(PyObject *self, PyObject *args)
{
    Encoder *encoder = (Encoder *)self;
    PyObject *address;
    int timeout_ms;
    WireOutcome outcome;
    if (!PyArg_ParseTuple(args, "Oi:run", &address, &timeout_ms))
        return NULL;
    PGconn *conn = wire_connection(address);
    if (conn == NULL || !enter(encoder))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    outcome = encode_and_send(encoder, conn, wire_now_ms() + timeout_ms);
    Py_END_ALLOW_THREADS
    return leave(encoder, outcome != WIRE_FAULT) ? PyLong_FromLong(outcome) : NULL;
}

static PyObject *encoder_encode(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Encoder *encoder = (Encoder *)self;
    if (!enter(encoder) || !leave(encoder, encode_rows(encoder, SIZE_MAX)))
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)encoder->out.data, (Py_ssize_t)encoder->out.used);
    encoder->out.used = encoder->sent = 0;
    return bytes;
}

static PyObject *encoder_end(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Encoder *encoder = (Encoder *)self;
    const uint8_t trailer[2] = {0xff, 0xff};
    if (!enter(encoder) || !leave(encoder, append(encoder, trailer, sizeof trailer)))
        return NULL;
    Py_RETURN_NONE;
}

static bool open_column(Values *values, PyObject *spec)
{
    int kind, is_array, scale;
    unsigned int item_oid;
    if (!PyArg_ParseTuple(spec, "ipIi:column", &kind, &is_array, &item_oid, &scale))
        return false;
    if (kind < 0 || kind >= KIND_COUNT || scale < 0 || scale > WIRE_WIDE_DIGITS) {
        PyErr_Format(PyExc_ValueError, "no column of kind %d with scale %d", kind, scale);
        return false;
    }
    *values = (Values){.kind = &wire_kinds[kind], .is_array = is_array, .scale = scale, .item_oid = item_oid};
    if (!is_array)
        return true;
    values->items = malloc(sizeof *values->items);
    if (values->items == NULL) {
        PyErr_NoMemory();
        return false;
    }
    *values->items = (Values){.kind = values->kind, .scale = scale};
    return true;
}

static bool open_columns(Encoder *encoder, PyObject *specs)
{
    const Py_ssize_t count = PyList_Size(specs);
    if (count < 1 || count > INT16_MAX) {
        PyErr_Format(PyExc_ValueError, "an encoder has 1 to 32767 columns; got %zd", count);
        return false;
    }
    encoder->columns = calloc((size_t)count, sizeof *encoder->columns);
    if (encoder->columns == NULL || !append(encoder, wire_header, WIRE_HEADER_SIZE)) {
        PyErr_NoMemory();
        return false;
    }
    for (; encoder->count < count; encoder->count++)
        if (!open_column(&encoder->columns[encoder->count], PyList_GetItem(specs, encoder->count)))
            return false;
    return true;
}

static PyObject *encoder_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
    PyObject *specs;
    if (!PyArg_ParseTuple(args, "O!:Encoder", &PyList_Type, &specs))
        return NULL;
    PyObject *encoder = PyType_GenericAlloc(type, 0);
    if (encoder != NULL && !open_columns((Encoder *)encoder, specs))
        Py_CLEAR(encoder);
    return encoder;
}

static void encoder_free(PyObject *self)
{
    Encoder *encoder = (Encoder *)self;
    for (int i = 0; i < encoder->count; i++)
        free(encoder->columns[i].items);
    free(encoder->columns);
    free(encoder->out.data);
    wire_free_object(self);
}

static PyObject *encoder_get_rows(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromLongLong(((Encoder *)self)->rows);
}

static PyMethodDef encoder_methods[] = {
    {"load", encoder_load, METH_VARARGS,
     "load(rows, columns): take a batch; its memory must stay until run() says DONE."},
    {"run", encoder_run, METH_VARARGS,
     "run(connection, timeout_ms) -> outcome: encode and send until all is sent or the time is over."},
    {"encode", encoder_encode, METH_NOARGS, "encode() -> bytes: the rest of the batch, without a connection."},
    {"end", encoder_end, METH_NOARGS, "end(): append the trailer, to be sent by run()."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef encoder_properties[] = {
    {"rows", encoder_get_rows, NULL, "rows encoded so far", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_doc, "Encoder(columns)"},
    {Py_tp_new, encoder_new},
    {Py_tp_dealloc, encoder_free},
    {Py_tp_methods, encoder_methods},
    {Py_tp_getset, encoder_properties},
    {0, NULL},
};

static PyType_Spec encoder_spec = {
    .name = "penstock.connectors.postgres._wire.Encoder",
    .basicsize = sizeof(Encoder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = encoder_slots,
};

int wire_add_encoder(PyObject *module)
{
    encoder_type = wire_add_type(module, &encoder_spec);
    return encoder_type == NULL ? -1 : 0;
}
