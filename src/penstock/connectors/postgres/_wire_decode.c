/* Decoder: messages of COPY OUT in binary format become batches.
 *
 * A server sends one CopyData message for each row ("Message Flow", "COPY Operations"). The first message starts with
 * the header, the last one is or ends with the trailer. A row is int16 number of fields, then for each field int32
 * length (-1 is NULL) and the value.
 */
#include "_wire_decode.h"

typedef struct {
    PyObject_HEAD
    WireColumn *columns;
    int count;
    int64_t batch_rows, batch_bytes;
    int64_t width;           /* bytes of a row before values that vary */
    int64_t rows;            /* in the batch so far */
    int64_t size_bytes;      /* in the batch so far: carriers plus bytes of values that vary */
    int64_t rows_before;     /* in earlier batches */
    bool header_seen, trailer_seen, failed, busy;
    WireFault fault;
} Decoder;

static PyTypeObject *decoder_type;

/* ---- messages ---------------------------------------------------------------------------------------------- */

static bool decode_header(Decoder *decoder, const uint8_t **p, const uint8_t *end)
{
    WireFault *fault = &decoder->fault;
    if (end - *p < WIRE_HEADER_SIZE || memcmp(*p, wire_header, 11) != 0)
        return wire_fault(fault, "stream does not start with the signature of binary COPY");
    const uint32_t flags = wire_get32(*p + 11), extension = wire_get32(*p + 15);
    if (flags >> 16 != 0)
        return wire_fault(fault, "stream has the unknown flags 0x%08x", (unsigned)flags);
    if (extension > (size_t)(end - *p) - WIRE_HEADER_SIZE)
        return wire_fault(fault, "header extension of %u bytes is cut off", (unsigned)extension);
    *p += WIRE_HEADER_SIZE + extension;
    decoder->header_seen = true;
    return true;
}

static bool decode_row(Decoder *decoder, const uint8_t *p, const uint8_t *end)
{
    WireFault *fault = &decoder->fault;
    int64_t size_bytes = decoder->width;
    for (int i = 0; i < decoder->count; i++) {
        WireColumn *column = &decoder->columns[i];
        fault->column = i;
        if (end - p < 4)
            return wire_fault(fault, "row ends before this field");
        const int32_t size = (int32_t)wire_get32(p);
        p += 4;
        if (size < -1 || size > end - p)
            return wire_fault(fault, "field has the length %d; %d bytes of the row are left", (int)size,
                              (int)(end - p));
        if (!wire_column_put(column, p, size, fault))
            return false;
        if (size > 0) {
            p += size;
            size_bytes += size & column->weighs;
        }
    }
    fault->column = -1;
    if (p != end)
        return wire_fault(fault, "row has %d bytes after its last field", (int)(end - p));
    decoder->rows++;
    decoder->size_bytes += size_bytes;
    return true;
}

static bool decode_message(Decoder *decoder, const uint8_t *p, size_t size)
{
    WireFault *fault = &decoder->fault;
    const uint8_t *end = p + size;
    fault->column = -1;
    fault->row = decoder->rows_before + decoder->rows + 1;
    if (!decoder->header_seen && !decode_header(decoder, &p, end))
        return false;
    if (p == end)
        return true;
    if (decoder->trailer_seen)
        return wire_fault(fault, "data after the trailer");
    if (end - p < 2)
        return wire_fault(fault, "row has a single byte");
    const int fields = (int16_t)wire_get16(p);
    if (fields == decoder->count)
        return decode_row(decoder, p + 2, end);
    if (fields != -1)
        return wire_fault(fault, "row has %d fields; %d expected", fields, decoder->count);
    decoder->trailer_seen = true;
    return end - p == 2 || wire_fault(fault, "data after the trailer");
}

static bool batch_is_full(const Decoder *decoder)
{
    return decoder->rows >= decoder->batch_rows || decoder->size_bytes >= decoder->batch_bytes;
}

static WireOutcome drain(Decoder *decoder, WireSource *source, int64_t deadline_ms)
{
    for (;;) {
        char *message;
        const int size = wire_source_next(source, &message);
        if (size > 0) {
            const bool good = decode_message(decoder, (const uint8_t *)message, (size_t)size);
            wire_libpq.freemem(message);
            if (!good)
                return WIRE_FAULT;
            if (batch_is_full(decoder))
                return WIRE_BATCH;
        } else if (size < 0) {
            return size == -1 ? WIRE_ENDED : WIRE_LOST;
        } else if (!wire_source_wait(source, deadline_ms)) {
            return WIRE_SLICE;
        }
    }
}

/* ---- the Python type --------------------------------------------------------------------------------------- */

/* Claim the decoder for one call. A decoder whose stream was invalid stays unusable: its columns differ in length. */
static bool enter(Decoder *decoder)
{
    if (decoder->busy)
        PyErr_SetString(PyExc_RuntimeError, "the decoder is in use by another thread");
    else if (decoder->failed)
        wire_raise(&decoder->fault);
    else
        decoder->busy = true;
    return decoder->busy && !PyErr_Occurred();
}

/* Release the decoder; raise its fault if the call failed. */
static bool leave(Decoder *decoder, bool good)
{
    decoder->busy = false;
    if (good)
        return true;
    decoder->failed = true;
    wire_raise(&decoder->fault);
    return false;
}

static PyObject *decoder_drain(PyObject *self, PyObject *args)
{
    Decoder *decoder = (Decoder *)self;
    PyObject *address;
    int timeout_ms;
    WireSource source;
    WireOutcome outcome;
    if (!PyArg_ParseTuple(args, "Oi:drain", &address, &timeout_ms))
        return NULL;
    PGconn *conn = wire_connection(address);
    if (conn == NULL || !enter(decoder))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    wire_source_open(&source, conn);
    outcome = drain(decoder, &source, wire_now_ms() + timeout_ms);
    Py_END_ALLOW_THREADS
    return leave(decoder, outcome != WIRE_FAULT) ? PyLong_FromLong(outcome) : NULL;
}

static PyObject *decoder_feed(PyObject *self, PyObject *args)
{
    Decoder *decoder = (Decoder *)self;
    Py_buffer message;
    if (!PyArg_ParseTuple(args, "y*:feed", &message))
        return NULL;
    PyObject *full = NULL;
    if (enter(decoder) && leave(decoder, decode_message(decoder, message.buf, (size_t)message.len)))
        full = PyBool_FromLong(batch_is_full(decoder));
    PyBuffer_Release(&message);
    return full;
}

static bool check_columns(Decoder *decoder)
{
    for (int i = 0; i < decoder->count; i++) {
        decoder->fault.column = i;
        if (!wire_column_check(&decoder->columns[i], &decoder->fault)) {
            decoder->fault.row += decoder->rows_before + 1;
            return false;
        }
    }
    return true;
}

static PyObject *decoder_take(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Decoder *decoder = (Decoder *)self;
    bool good;
    if (!enter(decoder))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    good = check_columns(decoder);
    Py_END_ALLOW_THREADS
    if (!leave(decoder, good))
        return NULL;
    PyObject *parts = PyList_New(decoder->count);
    for (int i = 0; parts != NULL && i < decoder->count; i++) {
        PyObject *part = wire_column_take(&decoder->columns[i]);
        if (part == NULL || PyList_SetItem(parts, i, part) < 0)
            Py_CLEAR(parts);
    }
    decoder->rows_before += decoder->rows;
    decoder->rows = decoder->size_bytes = 0;
    decoder->failed = parts == NULL;
    decoder->fault.no_memory = parts == NULL;
    return parts;
}

static bool open_column(WireColumn *column, PyObject *spec, WireFault *fault)
{
    int kind, is_array, nullable, nan_as_null, precision, scale;
    unsigned int item_oid;
    if (!PyArg_ParseTuple(spec, "ippIpii:column", &kind, &is_array, &nullable, &item_oid, &nan_as_null, &precision,
                          &scale))
        return false;
    const bool is_wide = precision > WIRE_NARROW_DIGITS;
    if (kind < 0 || kind >= KIND_COUNT || is_wide != (kind == KIND_NUMERIC256) || precision < 1
        || precision > WIRE_WIDE_DIGITS || scale < 0 || scale > precision) {
        PyErr_Format(PyExc_ValueError, "no column of kind %d with decimal(%d, %d)", kind, precision, scale);
        return false;
    }
    if (!wire_column_open(column, &wire_kinds[kind], is_array, fault)) {
        PyErr_NoMemory();
        return false;
    }
    column->nullable = nullable;
    column->item_oid = item_oid;
    WireColumn *values = is_array ? column->items : column;
    values->decimal = wire_decimal(precision, scale);
    values->nan_as_null = nan_as_null;
    return true;
}

static bool open_columns(Decoder *decoder, PyObject *specs)
{
    const Py_ssize_t count = PyList_Size(specs);
    if (count < 1 || count > INT16_MAX) {
        PyErr_Format(PyExc_ValueError, "a decoder has 1 to 32767 columns; got %zd", count);
        return false;
    }
    decoder->columns = calloc((size_t)count, sizeof *decoder->columns);
    if (decoder->columns == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (; decoder->count < count; decoder->count++) {
        WireColumn *column = &decoder->columns[decoder->count];
        if (!open_column(column, PyList_GetItem(specs, decoder->count), &decoder->fault)) {
            wire_column_close(column);
            return false;
        }
        decoder->width += column->width;
    }
    return true;
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
    PyObject *specs;
    long long batch_rows, batch_bytes;
    if (!PyArg_ParseTuple(args, "O!LL:Decoder", &PyList_Type, &specs, &batch_rows, &batch_bytes))
        return NULL;
    /* A batch ends after the row that reaches a bound. One row adds less than 1 GiB to a column: offsets fit int32. */
    if (batch_rows < 1 || batch_rows > (1 << 24) || batch_bytes < 1 || batch_bytes > (1 << 30)) {
        PyErr_SetString(PyExc_ValueError, "batch_rows must be 1 to 16,777,216 and batch_bytes 1 to 1 GiB");
        return NULL;
    }
    Decoder *decoder = (Decoder *)PyType_GenericAlloc(type, 0);
    if (decoder == NULL)
        return NULL;
    decoder->batch_rows = batch_rows;
    decoder->batch_bytes = batch_bytes;
    if (!open_columns(decoder, specs))
        Py_CLEAR(decoder);
    return (PyObject *)decoder;
}

static void decoder_free(PyObject *self)
{
    Decoder *decoder = (Decoder *)self;
    for (int i = 0; i < decoder->count; i++)
        wire_column_close(&decoder->columns[i]);
    free(decoder->columns);
    wire_free_object(self);
}

static PyObject *decoder_get_rows(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromLongLong(((Decoder *)self)->rows);
}

static PyObject *decoder_get_ended(PyObject *self, void *Py_UNUSED(unused))
{
    return PyBool_FromLong(((Decoder *)self)->trailer_seen);
}

static PyMethodDef decoder_methods[] = {
    {"drain", decoder_drain, METH_VARARGS,
     "drain(connection, timeout_ms) -> outcome: decode what the connection sends until a batch is full, the COPY "
     "ends or the time is over."},
    {"feed", decoder_feed, METH_VARARGS, "feed(message) -> bool: decode one message; whether the batch is full."},
    {"take", decoder_take, METH_NOARGS, "take() -> list: the columns of the batch; starts the next batch."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_properties[] = {
    {"rows", decoder_get_rows, NULL, "rows in the batch so far", NULL},
    {"ended", decoder_get_ended, NULL, "whether the trailer has been seen", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_doc, "Decoder(columns, batch_rows, batch_bytes)"},
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_free},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_properties},
    {0, NULL},
};

static PyType_Spec decoder_spec = {
    .name = "penstock.connectors.postgres._wire.Decoder",
    .basicsize = sizeof(Decoder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = decoder_slots,
};

int wire_add_decoder(PyObject *module)
{
    decoder_type = wire_add_type(module, &decoder_spec);
    return decoder_type == NULL ? -1 : 0;
}
