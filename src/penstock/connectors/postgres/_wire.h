/* Shared parts of the wire codec: PostgreSQL's binary COPY format on one side, Arrow buffers on the other.
 *
 * Sources: PostgreSQL documentation, "COPY", section "Binary Format", and "Message Flow", section "COPY Operations".
 * The value formats are those of each type's send and receive function (numeric_send, array_send, jsonb_send, ...).
 */
#ifndef PENSTOCK_WIRE_H
#define PENSTOCK_WIRE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

/* ---- big-endian numbers ------------------------------------------------------------------------------------ */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WIRE_SWAP16(v) __builtin_bswap16(v)
#define WIRE_SWAP32(v) __builtin_bswap32(v)
#define WIRE_SWAP64(v) __builtin_bswap64(v)
#else
#define WIRE_SWAP16(v) (v)
#define WIRE_SWAP32(v) (v)
#define WIRE_SWAP64(v) (v)
#endif

static inline uint16_t wire_get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, sizeof v); return WIRE_SWAP16(v); }
static inline uint32_t wire_get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof v); return WIRE_SWAP32(v); }
static inline uint64_t wire_get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof v); return WIRE_SWAP64(v); }
static inline void wire_set16(uint8_t *p, uint16_t v) { v = WIRE_SWAP16(v); memcpy(p, &v, sizeof v); }
static inline void wire_set32(uint8_t *p, uint32_t v) { v = WIRE_SWAP32(v); memcpy(p, &v, sizeof v); }
static inline void wire_set64(uint8_t *p, uint64_t v) { v = WIRE_SWAP64(v); memcpy(p, &v, sizeof v); }

/* ---- wire kinds -------------------------------------------------------------------------------------------- */

typedef enum {
    KIND_BOOL, KIND_INT2, KIND_INT4, KIND_INT8, KIND_OID, KIND_FLOAT4, KIND_FLOAT8, KIND_TEXT, KIND_BYTEA, KIND_JSONB,
    KIND_DATE, KIND_TIME, KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_UUID, KIND_NUMERIC,
    KIND_NUMERIC256,   /* numeric that needs a decimal256 */
    KIND_COUNT
} WireKindCode;

enum { WIRE_VARIES = 0, ARROW_BITS = 0, ARROW_VARIES = -1 };

typedef struct {
    const char *name;
    WireKindCode code;
    int wire_size;   /* bytes of a value on the wire, or WIRE_VARIES */
    int arrow_size;  /* bytes of a value in the Arrow data buffer, or ARROW_BITS, or ARROW_VARIES (offsets + data) */
    uint32_t oid;    /* element type that an array of this kind carries in its header */
} WireKind;

extern const WireKind wire_kinds[KIND_COUNT];

/* Shared facts of the formats. */
#define WIRE_HEADER_SIZE 19                     /* signature 11, flags 4, length of the header extension 4 */
extern const uint8_t wire_header[WIRE_HEADER_SIZE];
#define WIRE_UNIX_EPOCH_DAYS 10957              /* from 1970-01-01 to PostgreSQL's epoch, 2000-01-01 */
#define WIRE_UNIX_EPOCH_US INT64_C(946684800000000)
#define WIRE_DAY_US INT64_C(86400000000)        /* 24:00:00, the last value of time */
#define WIRE_MAX_FIELD 0x3fffffff               /* no value of PostgreSQL is larger than 1 GB - 1 */

/* ---- errors ------------------------------------------------------------------------------------------------ */

typedef struct {
    bool no_memory;
    int column;      /* -1: the stream itself, not a column */
    int64_t row;     /* from 1 within the COPY */
    char cause[256];
} WireFault;

extern PyObject *WireError;   /* WireError(column, row, cause) */

/* Set the cause and return false, so that a decoder may end with `return wire_fault(...)`. */
bool wire_fault(WireFault *fault, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool wire_no_memory(WireFault *fault);
/* Raise the fault as a Python exception and return NULL. Needs the GIL. */
PyObject *wire_raise(const WireFault *fault);

/* ---- growing bytes ----------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t used, space;
} WireBytes;

bool wire_bytes_grow(WireBytes *bytes, size_t more);

static inline bool wire_bytes_reserve(WireBytes *bytes, size_t more)
{
    return bytes->space - bytes->used >= more || wire_bytes_grow(bytes, more);
}

/* A Python object with the buffer protocol that owns `data` (from malloc) and frees it. Takes `data` even on error. */
PyObject *wire_buffer(void *data, size_t size);

/* ---- libpq ------------------------------------------------------------------------------------------------- */

typedef struct pg_conn PGconn;

typedef struct {
    int (*get_copy_data)(PGconn *, char **, int);
    void (*freemem)(void *);
    int (*consume_input)(PGconn *);
    int (*socket)(const PGconn *);
    int (*put_copy_data)(PGconn *, const char *, int);
    int (*flush)(PGconn *);
    int (*ssl_in_use)(PGconn *);
    void *(*ssl_struct)(PGconn *, const char *);   /* these two may be missing */
    int (*ssl_peek)(void *, void *, int);
} WireLibpq;

extern WireLibpq wire_libpq;

/* What a call that works on a connection came back with. */
typedef enum {
    WIRE_SLICE,     /* the time slice is over, or a signal came; call again */
    WIRE_BATCH,     /* a batch is full */
    WIRE_ENDED,     /* the server ended the COPY: well or with an error, the result tells */
    WIRE_DONE,      /* everything given has been handed to the kernel */
    WIRE_LOST,      /* the connection that is read broke */
    WIRE_REFUSED,   /* the connection that is written broke, or its server has sent an error */
    WIRE_FAULT      /* a value or the stream is invalid */
} WireOutcome;

int64_t wire_now_ms(void);
/* The connection of a Python int that psycopg gave (pgconn_ptr), or NULL with an exception set. */
PGconn *wire_connection(PyObject *address);

/* A connection in COPY OUT. */
typedef struct {
    PGconn *conn;
    bool encrypted;
    bool lost;
    int tries;       /* reads since the last message */
} WireSource;

void wire_source_open(WireSource *source, PGconn *conn);
/* The next message, without blocking: its size (free it with freemem), 0 = none yet, -1 = the COPY ended, -2 = lost. */
int wire_source_next(WireSource *source, char **message);
/* Read what has arrived; call after poll said that the socket is readable. */
void wire_source_read(WireSource *source);
/* Wait for the socket until `deadline_ms`, then read. False: the time is over, or a signal came. */
bool wire_source_wait(WireSource *source, int64_t deadline_ms);

/* Send data[*sent .. size) into COPY IN as far as the kernel takes it. WIRE_DONE, WIRE_SLICE (more to send) or
 * WIRE_REFUSED. */
WireOutcome wire_put(PGconn *conn, const uint8_t *data, size_t size, size_t *sent);
/* Whether the server of COPY IN has given up: call after poll said that the socket is readable. */
bool wire_target_failed(PGconn *conn);

/* ---- numeric ----------------------------------------------------------------------------------------------- */

#define WIRE_NARROW_DIGITS 38   /* more digits travel as decimal256 */
#define WIRE_WIDE_DIGITS 76
#define WIRE_NUMERIC_MAX 50     /* bytes of the largest numeric that a decimal256 becomes: 8 + 2 * 21 groups */

typedef struct {
    int precision, scale;
    u128 limit;      /* 10 ** precision, of a decimal128 */
} WireDecimal;

WireDecimal wire_decimal(int precision, int scale);
/* Set `slot`, a decimal128 or, when the precision needs it, a decimal256. `special` tells NaN and the infinities, for
 * which nothing is set. */
bool wire_decode_numeric(const WireDecimal *decimal, const uint8_t *p, int32_t size, void *slot, bool *special,
                         WireFault *fault);
/* Write the decimal128 or decimal256 at `slot`: at most WIRE_NUMERIC_MAX bytes; returns how many. */
int wire_encode_narrow(const void *slot, int scale, uint8_t *out);
int wire_encode_wide(const void *slot, int scale, uint8_t *out);

/* ---- types of the module ----------------------------------------------------------------------------------- */

int wire_add_decoder(PyObject *module);
int wire_add_encoder(PyObject *module);
int wire_add_pump(PyObject *module);

/* Add a heap type to the module under its last name; the caller keeps the reference that is returned. */
PyTypeObject *wire_add_type(PyObject *module, PyType_Spec *spec);
/* Free an object of a heap type. */
void wire_free_object(PyObject *self);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
