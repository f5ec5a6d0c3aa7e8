/* One column of a batch: fields of binary COPY appended to Arrow buffers. */
#include "_wire_decode.h"

enum { FIRST_ROOM = 64, MAX_DIMENSIONS = 6 };

/* ---- memory ------------------------------------------------------------------------------------------------ */

static bool resize(void *pointer_to_pointer, size_t size)
{
    void *old, *new;
    memcpy(&old, pointer_to_pointer, sizeof old);
    new = realloc(old, size);
    if (new != NULL)
        memcpy(pointer_to_pointer, &new, sizeof new);
    return new != NULL;
}

static size_t bitmap_size(int64_t rows) { return (size_t)(rows + 7) / 8; }

static bool has_offsets(const WireColumn *column)
{
    return column->items != NULL || column->kind->arrow_size == ARROW_VARIES;
}

static bool grow_validity(WireColumn *column, int64_t room)
{
    const size_t old = bitmap_size(column->validity_room), new = bitmap_size(room);
    if (new <= old)
        return true;
    if (!resize(&column->validity, new))
        return false;
    memset(column->validity + old, 0xff, new - old);
    column->validity_room = room;
    return true;
}

static bool grow_data(WireColumn *column, int64_t room)
{
    const int size = column->kind->arrow_size;
    if (size == ARROW_VARIES)
        return column->data.data != NULL || wire_bytes_reserve(&column->data, column->first_space + 256);
    const size_t old = column->data.space, new = size == ARROW_BITS ? bitmap_size(room) : (size_t)room * (size_t)size;
    if (!resize(&column->data.data, new))
        return false;
    if (size == ARROW_BITS && new > old)
        memset(column->data.data + old, 0, new - old);
    column->data.space = new;
    return true;
}

static bool grow(WireColumn *column)
{
    int64_t room = column->room * 2;
    if (room == 0)
        room = column->first_room > FIRST_ROOM ? column->first_room : FIRST_ROOM;
    if (has_offsets(column)) {
        if (!resize(&column->offsets, (size_t)(room + 1) * sizeof *column->offsets))
            return false;
        if (column->room == 0)
            column->offsets[0] = 0;
    }
    if (!grow_validity(column, room) || (column->items == NULL && !grow_data(column, room)))
        return false;
    column->room = room;
    return true;
}

bool wire_column_open(WireColumn *column, const WireKind *kind, bool is_array, WireFault *fault)
{
    *column = (WireColumn){.kind = kind, .nullable = true};
    column->width = is_array || kind->arrow_size == ARROW_VARIES ? (int64_t)sizeof *column->offsets
                    : kind->arrow_size == ARROW_BITS             ? 1
                                                                 : kind->arrow_size;
    column->weighs = is_array || kind->arrow_size == ARROW_VARIES ? -1 : 0;
    if (!is_array)
        return true;
    column->items = malloc(sizeof *column->items);
    return column->items == NULL ? wire_no_memory(fault) : wire_column_open(column->items, kind, false, fault);
}

void wire_column_close(WireColumn *column)
{
    if (column->items != NULL)
        wire_column_close(column->items);
    free(column->items);
    free(column->validity);
    free(column->offsets);
    free(column->data.data);
    *column = (WireColumn){0};
}

/* ---- one value --------------------------------------------------------------------------------------------- */

static bool put_null(WireColumn *column, WireFault *fault)
{
    const int64_t i = column->rows;
    const int size = column->kind->arrow_size;
    if (!column->nullable)
        return wire_fault(fault, "NULL in a column declared not null");
    column->validity[i / 8] &= (uint8_t)~(1u << (i % 8));
    column->nulls++;
    if (has_offsets(column))
        column->offsets[i + 1] = column->offsets[i];
    else if (size > 0)
        memset(column->data.data + i * size, 0, (size_t)size);
    column->rows++;
    return true;
}

static bool put_bytes(WireColumn *column, const uint8_t *p, size_t size, WireFault *fault)
{
    WireBytes *data = &column->data;
    if (data->used + size > INT32_MAX)
        return wire_fault(fault, "batch would hold more than 2 GiB of this column");
    if (!wire_bytes_reserve(data, size))
        return wire_no_memory(fault);
    memcpy(data->data + data->used, p, size);
    data->used += size;
    column->offsets[column->rows + 1] = (int32_t)data->used;
    return true;
}

static bool put_jsonb(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault)
{
    if (size < 1 || *p != 1)
        return wire_fault(fault, "jsonb has version %d; only version 1 is known", size < 1 ? 0 : *p);
    return put_bytes(column, p + 1, (size_t)size - 1, fault);
}

static bool put_date(int32_t *slot, const uint8_t *p, WireFault *fault)
{
    const int32_t days = (int32_t)wire_get32(p);
    if (days == INT32_MAX || days == INT32_MIN)
        *slot = days == INT32_MAX ? INT32_MAX : -INT32_MAX;
    else if (days >= INT32_MAX - WIRE_UNIX_EPOCH_DAYS)
        return wire_fault(fault, "date is %d days after 2000-01-01; the carrier ends before", (int)days);
    else
        *slot = days + WIRE_UNIX_EPOCH_DAYS;
    return true;
}

static bool put_timestamp(int64_t *slot, const uint8_t *p, WireFault *fault)
{
    const int64_t us = (int64_t)wire_get64(p);
    if (us == INT64_MAX || us == INT64_MIN)
        *slot = us == INT64_MAX ? INT64_MAX : -INT64_MAX;
    else if (us >= INT64_MAX - WIRE_UNIX_EPOCH_US)
        return wire_fault(fault, "timestamp is %lld microseconds after 2000-01-01; the carrier ends in the year 294247",
                          (long long)us);
    else
        *slot = us + WIRE_UNIX_EPOCH_US;
    return true;
}

static bool put_time(int64_t *slot, const uint8_t *p, WireFault *fault)
{
    const int64_t us = (int64_t)wire_get64(p);
    if (us < 0 || us >= WIRE_DAY_US)   /* PostgreSQL has 24:00:00, Arrow's time64 has not */
        return wire_fault(fault, "time is %lld microseconds after midnight; a day of the carrier has %lld "
                          "(read the column as text)", (long long)us, (long long)WIRE_DAY_US);
    *slot = us;
    return true;
}

static bool put_numeric(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault)
{
    bool special;
    void *slot = column->data.data + column->rows * column->kind->arrow_size;
    if (!wire_decode_numeric(&column->decimal, p, size, slot, &special, fault))
        return false;
    if (!special) {
        column->rows++;
        return true;
    }
    if (column->nan_as_null)
        return put_null(column, fault);
    return wire_fault(fault, "numeric value is NaN or infinite, which decimal(%d, %d) cannot hold",
                      column->decimal.precision, column->decimal.scale);
}

/* Append a value that is not NULL and not an array; there is room for it. */
static bool put_value(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault)
{
    const WireKind *kind = column->kind;
    void *const slots = column->data.data;
    const int64_t i = column->rows;
    bool good = true;

    if (kind->wire_size != WIRE_VARIES && size != kind->wire_size)
        return wire_fault(fault, "value has %d bytes; %s has %d", (int)size, kind->name, kind->wire_size);
    switch (kind->code) {
    case KIND_BOOL:
        ((uint8_t *)slots)[i / 8] |= (uint8_t)((*p != 0) << (i % 8));
        break;
    case KIND_INT2:
        ((uint16_t *)slots)[i] = wire_get16(p);
        break;
    case KIND_INT4:
    case KIND_FLOAT4:
        ((uint32_t *)slots)[i] = wire_get32(p);
        break;
    case KIND_INT8:
    case KIND_FLOAT8:
        ((uint64_t *)slots)[i] = wire_get64(p);
        break;
    case KIND_OID:
        ((uint64_t *)slots)[i] = wire_get32(p);
        break;
    case KIND_TEXT:
    case KIND_BYTEA:
        good = put_bytes(column, p, (size_t)size, fault);
        break;
    case KIND_JSONB:
        good = put_jsonb(column, p, size, fault);
        break;
    case KIND_DATE:
        good = put_date((int32_t *)slots + i, p, fault);
        break;
    case KIND_TIME:
        good = put_time((int64_t *)slots + i, p, fault);
        break;
    case KIND_TIMESTAMP:
    case KIND_TIMESTAMPTZ:
        good = put_timestamp((int64_t *)slots + i, p, fault);
        break;
    case KIND_UUID:
        memcpy((uint8_t *)slots + i * 16, p, 16);
        break;
    case KIND_NUMERIC:
    case KIND_NUMERIC256:
        return put_numeric(column, p, size, fault);
    case KIND_COUNT:
        return wire_fault(fault, "unknown kind");
    }
    column->rows++;
    return good;
}

/* ---- arrays ------------------------------------------------------------------------------------------------ */

/* array_send writes int32 ndim, int32 flags, uint32 element oid, per dimension int32 size and int32 lower bound, then
 * the elements as fields. Moves `p` to the first element. */
static bool read_array_header(const WireColumn *column, const uint8_t **p, const uint8_t *end, int32_t *count,
                              WireFault *fault)
{
    const uint8_t *const sizes = *p + 12;
    if (end - *p < 12)
        return wire_fault(fault, "array has %d bytes; at least 12 are needed", (int)(end - *p));
    const int32_t dimensions = (int32_t)wire_get32(*p);
    const uint32_t flags = wire_get32(*p + 4), oid = wire_get32(*p + 8);
    if (dimensions < 0 || dimensions > MAX_DIMENSIONS || flags > 1)
        return wire_fault(fault, "array has %d dimensions and flags %u", (int)dimensions, (unsigned)flags);
    if (end - sizes < 8 * dimensions)
        return wire_fault(fault, "array ends within its header");
    if (column->item_oid != 0 && oid != column->item_oid)
        return wire_fault(fault, "array has elements of type %u; %u expected", (unsigned)oid,
                          (unsigned)column->item_oid);
    *count = dimensions == 0 ? 0 : INT32_MAX;
    for (int i = 0; i < dimensions && *count > 0; i++) {
        *count = (int32_t)wire_get32(sizes + 8 * i);
        if (*count < 0)
            return wire_fault(fault, "array dimension has size %d", (int)*count);
    }
    if (*count > 0 && dimensions > 1)
        return wire_fault(fault, "array has %d dimensions; a list has one (read the column as text)", (int)dimensions);
    if (*count > 0 && wire_get32(sizes + 4) != 1)
        return wire_fault(fault, "array starts at index %d; a list starts at 1 (read the column as text)",
                          (int)(int32_t)wire_get32(sizes + 4));
    *p = sizes + 8 * dimensions;
    return true;
}

static bool put_array(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault)
{
    const uint8_t *end = p + size;
    int32_t count = 0;
    if (!read_array_header(column, &p, end, &count, fault))
        return false;
    for (int32_t i = 0; i < count; i++) {
        if (end - p < 4)
            return wire_fault(fault, "array ends after %d of %d elements", (int)i, (int)count);
        const int32_t length = (int32_t)wire_get32(p);
        p += 4;
        if (length < -1 || length > end - p)
            return wire_fault(fault, "array element %d has the length %d; %d bytes are left", (int)i + 1, (int)length,
                              (int)(end - p));
        if (!wire_column_put(column->items, p, length, fault))
            return false;
        if (length > 0)
            p += length;
    }
    if (p != end)
        return wire_fault(fault, "array has %d bytes after its last element", (int)(end - p));
    if (column->items->rows > INT32_MAX)
        return wire_fault(fault, "batch would hold more than 2,147,483,647 elements of this column");
    column->offsets[++column->rows] = (int32_t)column->items->rows;
    return true;
}

bool wire_column_put(WireColumn *column, const uint8_t *p, int32_t size, WireFault *fault)
{
    if (column->rows == column->room && !grow(column))
        return wire_no_memory(fault);
    if (size < 0)
        return put_null(column, fault);
    if (column->items != NULL)
        return put_array(column, p, size, fault);
    return put_value(column, p, size, fault);
}

/* ---- text -------------------------------------------------------------------------------------------------- */

static bool is_ascii(const uint8_t *p, size_t size)
{
    enum { BLOCK = 1024 };   /* long enough for vector instructions, short enough to stop early */
    while (size > 0) {
        const size_t block = size < BLOCK ? size : BLOCK;
        uint8_t bits = 0;
        for (size_t i = 0; i < block; i++)
            bits |= p[i];
        if (bits & 0x80)
            return false;
        p += block;
        size -= block;
    }
    return true;
}

/* The length of the UTF-8 sequence at `p`, which does not start with an ASCII character, or 0 (RFC 3629, section 4). */
static int sequence_length(const uint8_t *p, size_t left)
{
    const uint8_t first = p[0];
    const int length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || left < (size_t)length)
        return 0;
    for (int i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && p[1] < 0xa0) || (first == 0xed && p[1] > 0x9f) || (first == 0xf0 && p[1] < 0x90)
        || (first == 0xf4 && p[1] > 0x8f))
        return 0;   /* overlong, a surrogate, or beyond U+10FFFF */
    return length;
}

bool wire_utf8_valid(const uint8_t *p, size_t size)
{
    const uint8_t *end = p + size;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, sizeof eight), (eight & UINT64_C(0x8080808080808080)) == 0)) {
            p += 8;
        } else if (*p < 0x80) {
            p++;
        } else {
            const int length = sequence_length(p, (size_t)(end - p));
            if (length == 0)
                return false;
            p += length;
        }
    }
    return true;
}

static bool check_items(const WireColumn *column, WireFault *fault)
{
    if (wire_column_check(column->items, fault))
        return true;
    int64_t row = 0;   /* from the element to the row that holds it */
    while (column->offsets[row + 1] <= fault->row)
        row++;
    fault->row = row;
    return false;
}

bool wire_column_check(const WireColumn *column, WireFault *fault)
{
    if (column->kind->code != KIND_TEXT && column->kind->code != KIND_JSONB)
        return true;
    if (column->items != NULL)
        return check_items(column, fault);
    if (is_ascii(column->data.data, column->data.used))
        return true;
    for (int64_t i = 0; i < column->rows; i++) {
        const int32_t start = column->offsets[i];
        if (!wire_utf8_valid(column->data.data + start, (size_t)(column->offsets[i + 1] - start))) {
            fault->row = i;
            return wire_fault(fault, "text is not valid UTF-8");
        }
    }
    return true;
}

/* ---- handing over ------------------------------------------------------------------------------------------ */

/* A Buffer of the first `used` bytes at `data`; gives back to the system what is clearly too much. */
static PyObject *hand_over(void *data, size_t used, size_t space)
{
    if (space - used > used / 4 + 4096) {
        void *smaller = realloc(data, used > 0 ? used : 1);
        data = smaller != NULL ? smaller : data;
    }
    return wire_buffer(data, used);
}

static PyObject *take_validity(WireColumn *column)
{
    if (column->nulls == 0)
        Py_RETURN_NONE;   /* the bits stay, all set, for the next batch */
    PyObject *buffer = hand_over(column->validity, bitmap_size(column->rows), bitmap_size(column->validity_room));
    column->validity = NULL;
    column->validity_room = 0;
    return buffer;
}

static PyObject *take_offsets(WireColumn *column)
{
    const size_t size = sizeof *column->offsets;
    PyObject *buffer =
        hand_over(column->offsets, (size_t)(column->rows + 1) * size, (size_t)(column->room + 1) * size);
    column->offsets = NULL;
    return buffer;
}

static PyObject *take_data(WireColumn *column)
{
    const int size = column->kind->arrow_size;
    const size_t used = size == ARROW_VARIES ? column->data.used
                        : size == ARROW_BITS ? bitmap_size(column->rows)
                                             : (size_t)column->rows * (size_t)size;
    PyObject *buffer = hand_over(column->data.data, used, column->data.space);
    column->first_space = column->data.used + column->data.used / 8;
    column->data = (WireBytes){0};
    return buffer;
}

PyObject *wire_column_take(WireColumn *column)
{
    if (column->room == 0 && !grow(column))
        return PyErr_NoMemory();
    const long long rows = column->rows, nulls = column->nulls;
    PyObject *buffers[3];
    int count = 0;
    buffers[count++] = take_validity(column);
    if (has_offsets(column))
        buffers[count++] = take_offsets(column);
    if (column->items == NULL)
        buffers[count++] = take_data(column);
    column->first_room = column->rows;
    column->rows = column->room = column->nulls = 0;

    PyObject *items = column->items != NULL ? wire_column_take(column->items) : Py_NewRef(Py_None);
    PyObject *list = PyList_New(count);
    bool good = items != NULL && list != NULL;
    for (int i = 0; i < count; i++) {
        good = good && buffers[i] != NULL;
        if (list == NULL || PyList_SetItem(list, i, buffers[i]) < 0)   /* takes the reference, or frees it */
            good = false;
    }
    if (good)
        return Py_BuildValue("(LLNN)", rows, nulls, list, items);
    Py_XDECREF(items);
    Py_XDECREF(list);
    return NULL;
}
