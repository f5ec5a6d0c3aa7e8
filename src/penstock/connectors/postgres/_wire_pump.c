/* Pump: COPY OUT of one connection becomes COPY IN of another, bytes untouched. */
#include "_wire.h"

#include <poll.h>

/* Rows are gathered to at least GATHER_SIZE before they are handed on; reading stops at GATHER_MOST. A row of at least
 * GATHER_SIZE is handed on in libpq's own memory. */
#define GATHER_SIZE ((size_t)64 * 1024)
#define GATHER_MOST ((size_t)256 * 1024)

typedef struct {
    PyObject_HEAD
    WireSource source;
    PGconn *target;
    WireBytes filling, sending;
    char *held;             /* a large row that waits until `filling` has gone before it */
    size_t held_size;
    char *direct;           /* a large row that is being sent, from libpq's memory */
    size_t direct_size;
    size_t sent;            /* of `direct` if there is one, else of `sending` */
    int64_t messages, size_bytes;
    bool dry;               /* libpq holds no whole message */
    bool ended;             /* the source has no more messages */
    bool trailer_seen, busy;
} Pump;

static PyTypeObject *pump_type;

/* ---- moving ------------------------------------------------------------------------------------------------ */

static bool may_read(const Pump *pump)
{
    return !pump->ended && pump->held == NULL && pump->filling.used < GATHER_MOST;
}

/* Take one message of the source; takes the ownership of `message`. */
static bool take_message(Pump *pump, char *message, size_t size)
{
    pump->messages++;
    pump->size_bytes += (int64_t)size;
    /* The trailer has a message of its own, or shares that of the header when there is no row. */
    pump->trailer_seen = (size == 2 || size == WIRE_HEADER_SIZE + 2) && memcmp(message + size - 2, "\377\377", 2) == 0;
    if (size >= GATHER_SIZE) {
        pump->held = message;
        pump->held_size = size;
        return true;
    }
    const bool good = wire_bytes_reserve(&pump->filling, size);
    if (good) {
        memcpy(pump->filling.data + pump->filling.used, message, size);
        pump->filling.used += size;
    }
    wire_libpq.freemem(message);
    return good;
}

/* Take all messages that libpq holds. Sets the outcome and returns false when the source has ended. */
static bool take_messages(Pump *pump, WireOutcome *outcome)
{
    while (may_read(pump)) {
        char *message;
        const int size = wire_source_next(&pump->source, &message);
        pump->dry = size == 0;
        if (pump->dry)
            break;
        if (size < 0) {
            pump->ended = true;
            *outcome = size == -1 ? WIRE_ENDED : WIRE_LOST;
            return false;
        }
        if (!take_message(pump, message, (size_t)size)) {
            *outcome = WIRE_FAULT;
            return false;
        }
    }
    return true;
}

/* Choose what is sent next, when nothing is being sent. Returns whether there is something to send. */
static bool choose_piece(Pump *pump)
{
    if (pump->direct != NULL || pump->sending.used > 0)
        return true;
    const bool ready = pump->filling.used >= GATHER_SIZE || pump->held != NULL || pump->ended;
    if (ready && pump->filling.used > 0) {
        const WireBytes empty = pump->sending;
        pump->sending = pump->filling;
        pump->filling = empty;
    } else if (pump->held != NULL) {
        pump->direct = pump->held;
        pump->direct_size = pump->held_size;
        pump->held = NULL;
    }
    return pump->direct != NULL || pump->sending.used > 0;
}

static WireOutcome send_piece(Pump *pump)
{
    const bool direct = pump->direct != NULL;
    const WireOutcome outcome =
        direct ? wire_put(pump->target, (const uint8_t *)pump->direct, pump->direct_size, &pump->sent)
               : wire_put(pump->target, pump->sending.data, pump->sending.used, &pump->sent);
    if (outcome == WIRE_DONE) {
        if (direct)
            wire_libpq.freemem(pump->direct);
        pump->direct = NULL;
        pump->sending.used = pump->sent = 0;
    }
    return outcome;
}

/* Wait until either side can go on, then read. */
static WireOutcome wait_for_both(Pump *pump, bool blocked, int64_t deadline_ms)
{
    const int64_t left_ms = deadline_ms - wire_now_ms();
    if (left_ms <= 0)
        return WIRE_SLICE;
    struct pollfd ready[2] = {
        {.fd = wire_libpq.socket(pump->target), .events = (short)(blocked ? POLLIN | POLLOUT : POLLIN)},
        {.fd = may_read(pump) ? wire_libpq.socket(pump->source.conn) : -1, .events = POLLIN},   /* poll skips -1 */
    };
    if (ready[0].fd < 0)
        return WIRE_REFUSED;
    if (may_read(pump) && ready[1].fd < 0)
        pump->source.lost = true;
    if (poll(ready, 2, (int)left_ms) <= 0)
        return WIRE_SLICE;
    if (ready[0].revents & (POLLIN | POLLHUP | POLLERR) && wire_target_failed(pump->target))
        return WIRE_REFUSED;
    if (ready[1].revents != 0) {
        pump->source.tries = 0;
        wire_source_read(&pump->source);
    }
    return WIRE_DONE;
}

/* WIRE_ENDED when the source has no more messages; the next call, after the source's result is known to be good, sends
 * the rest and ends with WIRE_DONE. */
static WireOutcome move(Pump *pump, int64_t deadline_ms)
{
    WireOutcome outcome = WIRE_SLICE;
    for (;;) {
        if (!take_messages(pump, &outcome))
            return outcome;
        bool blocked = false;
        while (!blocked && choose_piece(pump)) {
            outcome = send_piece(pump);
            if (outcome == WIRE_REFUSED)
                return outcome;
            blocked = outcome == WIRE_SLICE;
        }
        if (pump->ended && !blocked)
            return WIRE_DONE;
        if (wire_now_ms() >= deadline_ms)
            return WIRE_SLICE;
        if (blocked || pump->dry) {
            outcome = wait_for_both(pump, blocked, deadline_ms);
            if (outcome != WIRE_DONE)
                return outcome;
        }
    }
}

/* ---- the Python type --------------------------------------------------------------------------------------- */

static PyObject *pump_run(PyObject *self, PyObject *args)
{
    Pump *pump = (Pump *)self;
    int timeout_ms;
    WireOutcome outcome;
    if (!PyArg_ParseTuple(args, "i:run", &timeout_ms))
        return NULL;
    if (pump->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the pump is in use by another thread");
        return NULL;
    }
    pump->busy = true;
    Py_BEGIN_ALLOW_THREADS
    outcome = move(pump, wire_now_ms() + timeout_ms);
    Py_END_ALLOW_THREADS
    pump->busy = false;
    return outcome == WIRE_FAULT ? PyErr_NoMemory() : PyLong_FromLong(outcome);
}

static PyObject *pump_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
    PyObject *addresses[2];
    if (!PyArg_ParseTuple(args, "OO:Pump", &addresses[0], &addresses[1]))
        return NULL;
    PGconn *source = wire_connection(addresses[0]);
    PGconn *target = source == NULL ? NULL : wire_connection(addresses[1]);
    if (target == NULL)
        return NULL;
    Pump *pump = (Pump *)PyType_GenericAlloc(type, 0);
    if (pump == NULL)
        return NULL;
    wire_source_open(&pump->source, source);
    pump->target = target;
    return (PyObject *)pump;
}

static void pump_free(PyObject *self)
{
    Pump *pump = (Pump *)self;
    if (pump->held != NULL)
        wire_libpq.freemem(pump->held);
    if (pump->direct != NULL)
        wire_libpq.freemem(pump->direct);
    free(pump->filling.data);
    free(pump->sending.data);
    wire_free_object(self);
}

static PyObject *pump_get_rows(PyObject *self, void *Py_UNUSED(unused))
{
    const Pump *pump = (const Pump *)self;
    return PyLong_FromLongLong(pump->messages - pump->trailer_seen);
}

static PyObject *pump_get_size_bytes(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromLongLong(((Pump *)self)->size_bytes);
}

static PyObject *pump_get_ended(PyObject *self, void *Py_UNUSED(unused))
{
    return PyBool_FromLong(((Pump *)self)->trailer_seen);
}

static PyMethodDef pump_methods[] = {
    {"run", pump_run, METH_VARARGS,
     "run(timeout_ms) -> outcome: move rows until the source ends or the time is over. ENDED: call again, once the "
     "source's result is known to be good, to send the rest; then DONE."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pump_properties[] = {
    {"rows", pump_get_rows, NULL, "rows read so far", NULL},
    {"size_bytes", pump_get_size_bytes, NULL, "bytes read so far", NULL},
    {"ended", pump_get_ended, NULL, "whether the last message was the trailer", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pump_slots[] = {
    {Py_tp_doc, "Pump(source, target): connections in COPY OUT and COPY IN"},
    {Py_tp_new, pump_new},
    {Py_tp_dealloc, pump_free},
    {Py_tp_methods, pump_methods},
    {Py_tp_getset, pump_properties},
    {0, NULL},
};

static PyType_Spec pump_spec = {
    .name = "penstock.connectors.postgres._wire.Pump",
    .basicsize = sizeof(Pump),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = pump_slots,
};

int wire_add_pump(PyObject *module)
{
    pump_type = wire_add_type(module, &pump_spec);
    return pump_type == NULL ? -1 : 0;
}
