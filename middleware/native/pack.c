/* --- an event's bytes, as msgspec encodes a tuple: in the shortest form of MessagePack */

typedef struct {
    Py_ssize_t n;
    char bytes[1000]; /* what needs more is encoded by msgspec */
} Packed;

static int
pack(Packed *to, const void *bytes, Py_ssize_t n_bytes)
{
    if (n_bytes > (Py_ssize_t)sizeof to->bytes - to->n)
        return DECLINED;
    memcpy(to->bytes + to->n, bytes, n_bytes);
    to->n += n_bytes;
    return DONE;
}

/* Write what says of which kind it is, and a number of so many bytes, highest first. */
static int
pack_head(Packed *to, int kind, uint64_t n, int n_bytes)
{
    unsigned char bytes[9] = {(unsigned char)kind};
    for (int i = 0; i < n_bytes; i++)
        bytes[1 + i] = (unsigned char)(n >> 8 * (n_bytes - 1 - i));
    return pack(to, bytes, 1 + n_bytes);
}

static int
pack_number(Packed *to, int64_t n)
{
    if (n >= 0)
        return n < 0x80 ? pack_head(to, (int)n, 0, 0)
            : n <= UINT8_MAX ? pack_head(to, 0xcc, n, 1)
            : n <= UINT16_MAX ? pack_head(to, 0xcd, n, 2)
            : n <= UINT32_MAX ? pack_head(to, 0xce, n, 4) : pack_head(to, 0xcf, n, 8);
    return n >= -32 ? pack_head(to, (int)n & 0xff, 0, 0)
        : n >= INT8_MIN ? pack_head(to, 0xd0, n, 1)
        : n >= INT16_MIN ? pack_head(to, 0xd1, n, 2)
        : n >= INT32_MIN ? pack_head(to, 0xd2, n, 4) : pack_head(to, 0xd3, n, 8);
}

static int
pack_int(Packed *to, PyObject *number)
{
    int64_t n;
    return is_number(number, &n) ? pack_number(to, n) : DECLINED;
}

static int
pack_text(Packed *to, PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text))
        return DECLINED;
    Py_ssize_t n = PyUnicode_GET_LENGTH(text);
    int head = n < 32 ? pack_head(to, 0xa0 | (int)n, 0, 0)
        : n <= UINT8_MAX ? pack_head(to, 0xd9, n, 1) : pack_head(to, 0xda, n, 2);
    return head == DONE ? pack(to, PyUnicode_1BYTE_DATA(text), n) : DECLINED;
}

static int
pack_text_or_none(Packed *to, PyObject *text)
{
    return text == Py_None ? pack_head(to, 0xc0, 0, 0) : pack_text(to, text);
}

static int
pack_quantities(Packed *to, PyObject *quantities)
{
    PyObject *name, *quantity;
    Py_ssize_t at = 0;
    if (quantities == Py_None)
        return pack_head(to, 0xc0, 0, 0);
    if (!PyDict_CheckExact(quantities) || PyDict_GET_SIZE(quantities) > 15
        || pack_head(to, 0x80 | (int)PyDict_GET_SIZE(quantities), 0, 0) != DONE)
        return DECLINED;
    while (PyDict_Next(quantities, &at, &name, &quantity))
        if (pack_text(to, name) != DONE || pack_int(to, quantity) != DONE)
            return DECLINED;
    return DONE;
}

static int
pack_event(Packed *to, PyObject *self, int64_t duration_us, PyObject *quantities)
{
    static const unsigned char array_of_11 = 0x9b;
    to->n = 0;
    return AT(self, Exchange_properties) == Py_None && pack(to, &array_of_11, 1) == DONE
        && pack_int(to, AT(self, Exchange_time_ms)) == DONE
        && pack_number(to, 0) == DONE /* Kind.REQUEST */
        && pack_text_or_none(to, AT(self, Exchange_subject)) == DONE
        && pack_text_or_none(to, AT(self, Exchange_method)) == DONE
        && pack_text_or_none(to, AT(self, Exchange_route)) == DONE
        && pack_int(to, AT(self, Exchange_status)) == DONE
        && pack_number(to, duration_us) == DONE
        && pack_int(to, AT(self, Exchange_bytes_in)) == DONE
        && pack_int(to, AT(self, Exchange_bytes_out)) == DONE
        && pack_int(to, AT(self, Exchange_flags)) == DONE
        && pack_quantities(to, quantities) == DONE ? DONE : DECLINED;
}
