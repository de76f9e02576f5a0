/* --- Writer.append */

static uint32_t crc_of_byte[256];

static void
make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xEDB88320 ^ crc >> 1 : crc >> 1;
        crc_of_byte[byte] = crc;
    }
}

/* As `zlib.crc32(bytes, start)`. */
static uint32_t
crc32(const unsigned char *bytes, Py_ssize_t n_bytes, uint32_t start)
{
    uint32_t crc = ~start;
    for (Py_ssize_t i = 0; i < n_bytes; i++)
        crc = crc_of_byte[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

static void
put_number(char *at, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(n >> 8 * i);
}

/* What appends to a map of a segment: as the map itself, whose `write`, `tell` and `seek`
   take ten times as long. The two must not be mixed: each has a place of its own. */
typedef struct {
    PyObject_HEAD
    PyObject *map;
    Py_ssize_t at;
} Appender;

/* Write a record, or as much of one as `n_head` and `n_bytes` say; declined where it does
   not fit or where the map is closed. Nobody comes in between: maps run no Python. */
static int
put(Appender *self, const char *head, Py_ssize_t n_head, const char *bytes, Py_ssize_t n_bytes)
{
    Py_buffer map;
    if (PyObject_GetBuffer(self->map, &map, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return DECLINED;
    }
    int fits = n_head + n_bytes <= map.len - self->at;
    if (fits) {
        char *at = (char *)map.buf + self->at;
        memcpy(at, head, n_head);
        memcpy(at + n_head, bytes, n_bytes);
        self->at += n_head + n_bytes;
    }
    PyBuffer_Release(&map);
    return fits ? DONE : DECLINED;
}

static PyObject *
appender_write(PyObject *self, PyObject *given)
{
    Py_buffer bytes;
    if (PyObject_GetBuffer(given, &bytes, PyBUF_SIMPLE) < 0)
        return NULL;
    int done = put((Appender *)self, NULL, 0, bytes.buf, bytes.len);
    Py_ssize_t n_bytes = bytes.len;
    PyBuffer_Release(&bytes);
    if (done != DONE)
        return PyErr_SetString(PyExc_ValueError, "it does not fit, or is closed"), NULL;
    return PyLong_FromSsize_t(n_bytes);
}

static PyObject *
appender_tell(PyObject *self, PyObject *nothing)
{
    return PyLong_FromSsize_t(((Appender *)self)->at);
}

static PyObject *
appender_seek(PyObject *self, PyObject *given)
{
    Py_ssize_t at = PyLong_AsSsize_t(given), size = PyObject_Size(((Appender *)self)->map);
    if (PyErr_Occurred())
        return NULL;
    if (at < 0 || at > size)
        return PyErr_SetString(PyExc_ValueError, "out of range"), NULL;
    ((Appender *)self)->at = at;
    Py_RETURN_NONE;
}

static PyObject *
appender_new(PyTypeObject *type, PyObject *given, PyObject *names)
{
    PyObject *map;
    if (!PyArg_ParseTuple(given, "O", &map))
        return NULL;
    Appender *self = (Appender *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->map = Py_NewRef(map);
    return (PyObject *)self;
}

static void
appender_dealloc(PyObject *self)
{
    Py_DECREF(((Appender *)self)->map);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef appender_methods[] = {
    {"write", appender_write, METH_O, NULL},
    {"tell", appender_tell, METH_NOARGS, NULL},
    {"seek", appender_seek, METH_O, NULL},
    {NULL},
};

static PyTypeObject AppenderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "meterline.native.Appender",
    .tp_basicsize = sizeof(Appender),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = appender_new,
    .tp_dealloc = appender_dealloc,
    .tp_methods = appender_methods,
};

/* Write a record by what a segment has in place of an `Appender`. */
static RARE int
write_whole(PyObject *write, const char *head, const char *payload, Py_ssize_t n_bytes)
{
    PyObject *record = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + n_bytes);
    if (record == NULL)
        return FAILED;
    memcpy(PyBytes_AS_STRING(record), head, HEADER_BYTES);
    memcpy(PyBytes_AS_STRING(record) + HEADER_BYTES, payload, n_bytes);
    int result = answered(PyObject_CallOneArg(write, record));
    Py_DECREF(record);
    if (result == FAILED && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        return DECLINED;
    }
    return result;
}

/* Write the record of an encoded event that has this number. */
static int
write_record(PyObject *write, const char *payload, Py_ssize_t n_bytes, uint32_t low)
{
    char head[HEADER_BYTES];
    put_number(head, (uint32_t)n_bytes);
    put_number(head + 4, crc32((const unsigned char *)payload, n_bytes, low));
    put_number(head + 8, low);
    if (PyCFunction_CheckExact(write) && PyCFunction_GET_FUNCTION(write) == appender_write)
        return put((Appender *)PyCFunction_GET_SELF(write), head, HEADER_BYTES, payload, n_bytes);
    return write_whole(write, head, payload, n_bytes);
}

/* Append in Python: the segment is full, or closed. */
static RARE int
append_elsewhere(
    PyObject *writer, const char *payload, Py_ssize_t n_bytes, PyObject *seq, PyObject *write)
{
    PyObject *bytes = PyBytes_FromStringAndSize(payload, n_bytes);
    int result = bytes == NULL ? FAILED : answered(PyObject_CallMethodObjArgs(
        writer, text__append_elsewhere, bytes, seq, write, NULL));
    Py_XDECREF(bytes);
    return result;
}

static int
append_to(PyObject *writer, const char *payload, Py_ssize_t n_bytes)
{
    PyObject *numbers = AT(writer, Writer__numbers), *write = AT(writer, Writer__write);
    PyObject *seq = PyIter_Next(numbers); /* it has no end */
    if (seq == NULL)
        return FAILED;
    Py_INCREF(write); /* the writer has another one when its segment is full */
    uint32_t low = (uint32_t)PyLong_AsUnsignedLongLongMask(seq);
    int result = write_record(write, payload, n_bytes, low);
    if (result == DECLINED)
        result = append_elsewhere(writer, payload, n_bytes, seq, write);
    Py_DECREF(write);
    Py_DECREF(seq);
    return result;
}

/* Hand an encoded event to its meter. */
static int
append_event(PyObject *self, const char *payload, Py_ssize_t n_bytes)
{
    PyObject *meter = AT(self, Exchange_meter), *append = NULL;
    if (is_a(meter, Meter))
        append = Py_XNewRef(AT(meter, Meter_append));
    if (append == NULL && (append = PyObject_GetAttr(meter, text_append)) == NULL)
        return FAILED;
    int result;
    if (PyMethod_Check(append) && PyMethod_GET_FUNCTION(append) == the_append
        && is_a(PyMethod_GET_SELF(append), Writer)) {
        result = append_to(PyMethod_GET_SELF(append), payload, n_bytes);
    } else {
        PyObject *bytes = PyBytes_FromStringAndSize(payload, n_bytes);
        result = bytes == NULL ? FAILED : answered(PyObject_CallOneArg(append, bytes));
        Py_XDECREF(bytes);
    }
    Py_DECREF(append);
    return result;
}
