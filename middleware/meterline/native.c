/* The way of nearly every request, compiled: parts of asgi.py, exchange.py, recording.py,
   subjects.py and spool/writer.py, which say in Python what is right.

   Here stands only what is nearly always so: plain dictionaries, texts and numbers, as
   servers and frameworks give them. All else is handed to the function of the same name
   in Python, before anything of it was done. Both work on the same objects: these are
   Python's, and C knows at which place in them each attribute lies.

   Another thread can come in wherever Python code may run, and nowhere else: in calls, in
   what frees an object and, before Python 3.12, in what makes one that the collector
   knows. Where that must not be, a comment says so. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <structmember.h>
#include <time.h>

#ifndef SOURCE_CRC
#define SOURCE_CRC 0 /* of this file; build_native.py says it */
#endif

#define HEADER_BYTES 12 /* of a record: length, CRC and number; see wire.py */
#define SUBJECT_CHARS_MAX 256
#define QUANTITIES_MAX 32
#define STATUS_MAX 999
#define METHOD_NOT_ALLOWED 405
#define SLOW_US 1000
#define NAME "MeterMiddleware.__call__"

enum { FAILED = -1, DECLINED, DONE }; /* an exception; to be done in Python; done */

/* --- what is known of Python's objects */

#define CLASSES(each) \
    each(Exchange) each(Compiled) each(Metering) each(Meter) each(Shipper) each(Room) \
    each(Writer) each(Traffic)

#define ATTRIBUTES(each) \
    each(Exchange, meter) each(Exchange, start_ns) each(Exchange, time_ms) \
    each(Exchange, middleware) each(Exchange, scope) each(Exchange, inner_receive) \
    each(Exchange, inner_send) each(Exchange, subject) each(Exchange, route) \
    each(Exchange, method) each(Exchange, status) each(Exchange, flags) \
    each(Exchange, quantities) each(Exchange, properties) each(Exchange, named) \
    each(Exchange, is_over) each(Exchange, left_at) each(Exchange, handle) \
    each(Exchange, inner) each(Exchange, bytes_in) each(Exchange, bytes_out) \
    each(Metering, meter) each(Metering, resolver) each(Metering, templates) \
    each(Metering, is_starlette) each(Metering, has_matching) \
    each(Metering, exclusion) each(Metering, retry_header) \
    each(Meter, append) each(Meter, shipper) each(Shipper, waiting) \
    each(Room, units) each(Room, _noted) each(Writer, _numbers) each(Writer, _write) \
    each(Traffic, started) each(Traffic, ended) each(Traffic, collecting) \
    each(Traffic, born_ns) each(Traffic, lock)

/* What else `install` is given. */
#define GIVEN(each) \
    each(traffic) each(current_event) each(scope_key) each(methods) each(encode) \
    each(append) each(receive) each(send) each(usual_resolver) each(good_names) \
    each(get_asyncgen_hooks) each(hook) each(watch) each(asgi_names) each(exchange_names) \
    each(perf_counter_ns) each(time_ns) each(call) each(awaiting)

/* Keys of scopes and messages, and methods of Python's. */
#define TEXTS(each) \
    each(type) each(body) each(more_body) each(status) each(method) each(route) \
    each(router) each(path_template) each(user) each(state) each(auth) each(headers) \
    each(trailers) each(app) each(throw) each(acquire) each(release) each(write) each(find_route) each(exact_subject) \
    each(end) each(note_unresolved) each(note_failure) each(is_excluded) each(_is_excluded) \
    each(leave_out) each(key_of) each(close) each(encoded) each(settle) \
    each(append) each(_append_elsewhere) each(disconnected) each(perf_counter_ns) \
    each(time_ns)

#define CLASS_NUMBER(name) name,
#define CLASS_NAME(name) #name,
enum { CLASSES(CLASS_NUMBER) N_CLASSES };
static const char *const class_names[] = {CLASSES(CLASS_NAME)};
static PyObject *classes[N_CLASSES];

#define ATTRIBUTE_NUMBER(owner, name) owner##_##name,
#define ATTRIBUTE_PLACE(owner, name) {owner, #name},
enum { ATTRIBUTES(ATTRIBUTE_NUMBER) N_ATTRIBUTES };
static const struct {
    int owner;
    const char *name;
} attributes[] = {ATTRIBUTES(ATTRIBUTE_PLACE)};
static uint16_t places[N_ATTRIBUTES]; /* of each in its object; short: it is read cold */

#define GIVEN_VARIABLE(name) static PyObject *the_##name;
#define TEXT_VARIABLE(name) static PyObject *text_##name;
GIVEN(GIVEN_VARIABLE)
TEXTS(TEXT_VARIABLE)
static PyObject *text_wsgi, *text_django, *zero, *the_record;

/* An attribute, to be read and set; NULL where somebody has deleted it. */
#define AT(object, attribute) \
    (*(PyObject **)((char *)(object) + places[attribute]))

/* As isinstance. The first subclass that comes is nearly always the only one. */
static int
is_a(PyObject *object, int class)
{
    static PyTypeObject *known[N_CLASSES];
    if (object == NULL || Py_TYPE(object) == known[class])
        return object != NULL;
    if (!PyObject_TypeCheck(object, (PyTypeObject *)classes[class]))
        return 0;
    if (known[class] == NULL)
        known[class] = (PyTypeObject *)Py_NewRef(Py_TYPE(object));
    return 1;
}

/* Give `value` to an attribute. What was there goes last: that may run code. */
static void
set(PyObject **attribute, PyObject *value)
{
    PyObject *before = *attribute;
    *attribute = value;
    Py_XDECREF(before);
}

/* Let the answer of a call go; tell whether there was one. */
static int
answered(PyObject *answer)
{
    Py_XDECREF(answer);
    return answer == NULL ? FAILED : DONE;
}

static int
is_text(PyObject *object, const char *text, Py_ssize_t length)
{
    return object != NULL && PyUnicode_CheckExact(object) && PyUnicode_IS_ASCII(object)
        && PyUnicode_GET_LENGTH(object) == length
        && memcmp(PyUnicode_1BYTE_DATA(object), text, length) == 0;
}
#define IS(object, text) is_text(object, text, sizeof text - 1)

/* Tell whether it is a plain whole number of 64 bits, and which. */
static int
is_number(PyObject *object, int64_t *n)
{
    int overflow = 0;
    if (object == NULL || !PyLong_CheckExact(object))
        return 0;
    *n = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow;
}

static int
add_to(PyObject **attribute, Py_ssize_t more)
{
    int64_t n;
    if (!is_number(*attribute, &n) || n > INT64_MAX / 2)
        return DECLINED;
    PyObject *sum = PyLong_FromLongLong(n + more);
    if (sum == NULL)
        return FAILED;
    set(attribute, sum);
    return DONE;
}

/* As `n // by`. */
static int64_t
divided(int64_t n, int64_t by)
{
    return n / by - (n % by < 0);
}

/* A clock of Python's, and how it is called as long as nobody has put another in there. */
typedef struct {
    PyObject **clock;
    PyCFunction how;
    clockid_t id;
} Clock;
static Clock monotonic = {&the_perf_counter_ns, NULL, CLOCK_MONOTONIC};
static Clock of_the_day = {&the_time_ns, NULL, CLOCK_REALTIME};

/* Ask a clock by its name in a module, where Python looks it up: whoever sets the time, as
   tests do, has set it here as well. Declined where its answer is no plain number. */
static int
ask_clock(PyObject *names, PyObject *name, const Clock *usual, int64_t *ns)
{
    struct timespec now;
    PyObject *clock = PyDict_GetItemWithError(names, name);
    if (clock == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_NameError, name);
        return FAILED;
    }
    /* As that one does, without the number in between. */
    if (clock == *usual->clock && PyCFunction_GET_FUNCTION(clock) == usual->how
        && clock_gettime(usual->id, &now) == 0) {
        *ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
        return DONE;
    }
    Py_INCREF(clock);
    PyObject *answer = PyObject_CallNoArgs(clock);
    Py_DECREF(clock);
    int result = answer == NULL ? FAILED : is_number(answer, ns) ? DONE : DECLINED;
    Py_XDECREF(answer);
    return result;
}

#if PY_VERSION_HEX < 0x030C0000
static PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
}

static void
PyErr_SetRaisedException(PyObject *error)
{
    PyObject *type = Py_NewRef(Py_TYPE(error));
    PyErr_Restore(type, error, PyException_GetTraceback(error));
}
#endif

/* As the end of `with lock:`; return what came of what was done in it. */
static int
released(PyObject *lock, int result)
{
    PyObject *error = result == FAILED ? PyErr_GetRaisedException() : NULL;
    if (answered(PyObject_CallMethodNoArgs(lock, text_release)) == FAILED)
        result = FAILED;
    if (error != NULL)
        PyErr_SetRaisedException(error);
    return result;
}

/* As `except Exception:`, with the call of a method in it. */
static int
except(PyObject *owner, PyObject *name, PyObject *argument)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return FAILED;
    PyObject *error = PyErr_GetRaisedException();
    PyObject *before = PyErr_GetHandledException();
    PyErr_SetHandledException(error);
    int result = answered(PyObject_CallMethodObjArgs(owner, name, argument, NULL));
    PyErr_SetHandledException(before);
    Py_XDECREF(before);
    Py_DECREF(error);
    return result;
}

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
    if (result == DECLINED) {
        PyObject *bytes = PyBytes_FromStringAndSize(payload, n_bytes);
        result = bytes == NULL ? FAILED : answered(PyObject_CallMethodObjArgs(
            writer, text__append_elsewhere, bytes, seq, write, NULL));
        Py_XDECREF(bytes);
    }
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

/* --- Exchange.write, for HTTP */

static int
write_in_python(PyObject *self)
{
    return answered(PyObject_CallMethodOneArg(self, text_write, zero)); /* Kind.REQUEST */
}

/* Return the template of the route that was taken, or None. */
static PyObject *
route_of(PyObject *self, PyObject *middleware, PyObject *scope)
{
    int64_t number;
    PyObject *template = NULL, *templates = AT(middleware, Metering_templates);
    PyObject *route = PyDict_GetItemWithError(scope, text_route);
    if (route == NULL && PyErr_Occurred())
        return NULL;
    PyObject *id = PyLong_FromVoidPtr(route == NULL ? Py_None : route);
    if (id == NULL)
        return NULL;
    if (PyDict_CheckExact(templates))
        template = PyDict_GetItemWithError(templates, id);
    Py_DECREF(id);
    PyObject *status = AT(self, Exchange_status);
    if (template != NULL && PyUnicode_CheckExact(template)
        && PyUnicode_GET_LENGTH(template) > 0 && is_number(status, &number)
        && number != METHOD_NOT_ALLOWED)
        return Py_NewRef(template);
    /* Where nobody knows of routes, it is found without a call that there is none. */
    if (AT(middleware, Metering_is_starlette) == Py_False
        && AT(middleware, Metering_has_matching) == Py_False
        && PyDict_GetItemWithError(scope, text_router) == NULL
        && PyDict_GetItemWithError(scope, text_path_template) == NULL
        && !PyErr_Occurred())
        return Py_NewRef(Py_None);
    PyErr_Clear();
    return PyObject_CallMethodNoArgs(self, text_find_route);
}

/* Tell without a call whether `subjects.default` finds nobody. */
static int
is_nobodys(PyObject *scope)
{
    PyObject *state = PyDict_GetItemWithError(scope, text_state);
    if (state != NULL && !(PyDict_CheckExact(state) && PyDict_GET_SIZE(state) == 0))
        return 0;
    int is_empty = PyDict_GetItemWithError(scope, text_user) == NULL
        && PyDict_GetItemWithError(scope, text_auth) == NULL
        && PyDict_GetItemWithError(scope, text_django) == NULL && !PyErr_Occurred();
    PyErr_Clear();
    return is_empty;
}

static int
is_exact_subject(PyObject *subject)
{
    return PyUnicode_CheckExact(subject) && PyUnicode_IS_ASCII(subject)
        && PyUnicode_GET_LENGTH(subject) > 0
        && PyUnicode_GET_LENGTH(subject) <= SUBJECT_CHARS_MAX;
}

/* Ask who used it, unless the app has said so. */
static int
ask_subject(PyObject *self, PyObject *middleware)
{
    PyObject *scope = AT(self, Exchange_scope); /* may be one further inside by now */
    PyObject *resolver = AT(middleware, Metering_resolver);
    PyObject *inner = AT(self, Exchange_inner);
    if (AT(self, Exchange_subject) != Py_None
        || (resolver == the_usual_resolver && inner == Py_None && PyDict_CheckExact(scope)
            && is_nobodys(scope)))
        return DONE;
    Py_INCREF(scope);
    Py_INCREF(resolver);
    PyObject *subject = PyObject_CallOneArg(resolver, scope);
    Py_DECREF(resolver);
    Py_DECREF(scope);
    if (subject != NULL && !is_exact_subject(subject)
        && (subject != Py_None || inner != Py_None))
        Py_SETREF(subject, PyObject_CallMethodObjArgs(
            middleware, text_exact_subject, self, subject, NULL));
    if (subject == NULL)
        return except(middleware, text_note_unresolved, self);
    set(&AT(self, Exchange_subject), subject);
    return DONE;
}

/* Leave the event out if it is to be, by its route or status; tell whether it was. */
static int
is_left_out(PyObject *self, PyObject *middleware)
{
    if (AT(middleware, Metering_exclusion) == Py_None)
        return 0;
    PyObject *answer = PyObject_CallMethodNoArgs(self, text_is_excluded);
    int is_excluded = answer == NULL ? FAILED : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (is_excluded > 0)
        is_excluded = answered(PyObject_CallMethodNoArgs(self, text_leave_out));
    return is_excluded;
}

static PyObject *
room_of(PyObject *event)
{
    PyObject *meter = AT(event, Exchange_meter);
    PyObject *shipper = is_a(meter, Meter) ? AT(meter, Meter_shipper) : NULL;
    PyObject *room = is_a(shipper, Shipper) ? AT(shipper, Shipper_waiting) : NULL;
    return is_a(room, Room) ? room : NULL;
}

/* As `OpenEvent.close`, behind its first line, of an event that has quantities. */
static PyObject *
close_event(PyObject *self)
{
    PyObject *room = Py_XNewRef(room_of(self)), *quantities = NULL;
    if (room == NULL || AT(self, Exchange_named) != Py_None
        || PySet_GET_SIZE(AT(room, Room__noted)) > 0) {
        Py_XDECREF(room);
        return PyObject_CallMethodNoArgs(self, text_close);
    }
    PyObject *lock = Py_NewRef(AT(the_traffic, Traffic_lock));
    if (answered(PyObject_CallMethodNoArgs(lock, text_acquire)) == DONE) {
        /* Whoever found it open has added by now, and the thread may have written. */
        quantities = Py_XNewRef(AT(self, Exchange_quantities));
        if (PyDict_DelItem(AT(room, Room_units), self) < 0)
            PyErr_Clear();
        if (released(lock, DONE) == FAILED)
            Py_CLEAR(quantities);
    }
    Py_DECREF(lock);
    Py_DECREF(room);
    if (quantities != NULL && quantities != Py_None && PyDict_GET_SIZE(quantities) == 0)
        Py_SETREF(quantities, Py_NewRef(Py_None));
    return quantities;
}

/* Return the event's bytes. */
static PyObject *
encode_event(PyObject *self, int64_t duration_us, PyObject *quantities, PyObject *key)
{
    PyObject *duration = PyLong_FromLongLong(duration_us), *fields = NULL, *payload = NULL;
    if (duration != NULL)
        fields = PyTuple_Pack(
            11, AT(self, Exchange_time_ms), zero, AT(self, Exchange_subject),
            AT(self, Exchange_method), AT(self, Exchange_route), AT(self, Exchange_status),
            duration, AT(self, Exchange_bytes_in), AT(self, Exchange_bytes_out),
            AT(self, Exchange_flags), quantities);
    if (fields == NULL)
        ;
    else if (key == Py_None && AT(self, Exchange_properties) == Py_None)
        payload = PyObject_CallOneArg(the_encode, fields);
    else
        payload = PyObject_CallMethodObjArgs(self, text_encoded, fields, key, NULL);
    Py_XDECREF(fields);
    Py_XDECREF(duration);
    return payload;
}

/* Append an event that is closed. */
static int
append_closed(PyObject *self, int64_t duration_us, PyObject *quantities, PyObject *key)
{
    Packed packed;
    if (key == Py_None && pack_event(&packed, self, duration_us, quantities) == DONE)
        return append_event(self, packed.bytes, packed.n);
    PyObject *payload = encode_event(self, duration_us, quantities, key);
    if (payload == NULL)
        return FAILED;
    int result = PyBytes_CheckExact(payload)
        ? append_event(self, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        : answered(PyObject_CallMethodOneArg(AT(self, Exchange_meter), text_append, payload));
    Py_DECREF(payload);
    return result;
}

static int
write_steps(PyObject *self, PyObject *middleware, PyObject *scope, int64_t duration_us)
{
    PyObject *route = route_of(self, middleware, scope);
    if (route == NULL)
        return FAILED;
    set(&AT(self, Exchange_route), route);
    if (ask_subject(self, middleware) == FAILED)
        return FAILED;
    int is_out = is_left_out(self, middleware);
    if (is_out)
        return is_out;
    PyObject *key = AT(middleware, Metering_retry_header) == Py_None
        ? Py_NewRef(Py_None) : PyObject_CallMethodOneArg(middleware, text_key_of, self);
    if (key == NULL)
        return FAILED;
    /* No other thread between these two: see close() in open_event.py. What the first one
       frees is a truth value, and so it is not freed. */
    set(&AT(self, Exchange_is_over), Py_NewRef(Py_True));
    PyObject *quantities = AT(self, Exchange_quantities);
    quantities = quantities == Py_None ? Py_NewRef(Py_None) : close_event(self);
    int result = quantities == NULL ? FAILED
        : append_closed(self, duration_us, quantities, key);
    Py_XDECREF(quantities);
    Py_DECREF(key);
    return result;
}

/* Tell whether all attributes are there that nobody looks at again. */
static int
is_whole(PyObject *self)
{
    for (int i = 0; i < N_ATTRIBUTES && attributes[i].owner == Exchange; i++)
        if (AT(self, i) == NULL)
            return 0;
    return 1;
}

/* Tell whether a client has not left, as far as can be known; see `inside.has_left`. */
static int
is_surely_here(PyObject *receive)
{
    if (!PyMethod_Check(receive))
        return PyFunction_Check(receive); /* is of no object that could say so */
    PyObject *left = PyObject_GetAttr(PyMethod_GET_SELF(receive), text_disconnected);
    int is_here = left != NULL ? left != Py_True : PyErr_ExceptionMatches(PyExc_AttributeError);
    PyErr_Clear();
    Py_XDECREF(left);
    return is_here;
}

static int
write_event(PyObject *self)
{
    PyObject *middleware = AT(self, Exchange_middleware), *scope = AT(self, Exchange_scope);
    int64_t start_ns, end_ns, took_ns;
    if (!is_whole(self) || !is_a(middleware, Metering) || !PyDict_CheckExact(scope)
        || !is_number(AT(self, Exchange_start_ns), &start_ns))
        return write_in_python(self);
    PyObject *method = PyDict_GetItemWithError(scope, text_method);
    if (method != NULL && PyUnicode_CheckExact(method))
        method = PyDict_GetItemWithError(the_methods, method);
    else
        method = NULL;
    if (method == NULL) {
        PyErr_Clear();
        return write_in_python(self);
    }
    int asked = ask_clock(the_exchange_names, text_perf_counter_ns, &monotonic, &end_ns);
    if (asked == FAILED)
        return FAILED;
    if (asked == DECLINED || __builtin_sub_overflow(end_ns, start_ns, &took_ns))
        return write_in_python(self);
    int64_t duration_us = divided(took_ns, 1000);
    if (duration_us > SLOW_US && !is_surely_here(AT(self, Exchange_inner_receive)))
        return write_in_python(self);
    set(&AT(self, Exchange_method), Py_NewRef(method));
    Py_INCREF(middleware);
    Py_INCREF(scope);
    int result = write_steps(self, middleware, scope, duration_us);
    Py_DECREF(scope);
    Py_DECREF(middleware);
    return result;
}

/* --- Exchange.send */

/* What a message says, borrowed from it; NULL where it says nothing. */
typedef struct {
    PyObject *type, *body, *more_body, *status;
} Said;

static int
look_up(PyObject *message, PyObject *key, PyObject **value)
{
    *value = PyDict_GetItemWithError(message, key);
    return *value != NULL || !PyErr_Occurred();
}

/* Frameworks write the keys in their code, and so they are known by their address. */
static int
read_message(PyObject *message, Said *said)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    memset(said, 0, sizeof *said);
    while (PyDict_Next(message, &at, &key, &value)) {
        if (key == text_type)
            said->type = value;
        else if (key == text_body)
            said->body = value;
        else if (key == text_more_body)
            said->more_body = value;
        else if (key == text_status)
            said->status = value;
        else if (key != text_headers && key != text_trailers)
            return look_up(message, text_type, &said->type)
                && look_up(message, text_body, &said->body)
                && look_up(message, text_more_body, &said->more_body)
                && look_up(message, text_status, &said->status);
    }
    return 1;
}

static int
note_body(PyObject *self, const Said *said)
{
    PyObject *body = said->body, *more = said->more_body;
    if (more != NULL && !PyBool_Check(more)) /* a truth value outlives its message */
        return DECLINED;
    if (body != NULL) {
        if (!PyBytes_CheckExact(body))
            return DECLINED;
        int added = add_to(&AT(self, Exchange_bytes_out), PyBytes_GET_SIZE(body));
        if (added != DONE)
            return added;
    }
    if (more == Py_True || AT(self, Exchange_is_over) == Py_True)
        return DONE;
    if (write_event(self) != FAILED)
        return DONE;
    return except(AT(self, Exchange_middleware), text_note_failure, NULL);
}

static int
note_start(PyObject *self, const Said *said)
{
    int64_t number;
    if (!is_number(said->status, &number) || number < 0 || number > STATUS_MAX)
        return DECLINED;
    set(&AT(self, Exchange_status), Py_NewRef(said->status));
    return DONE;
}

static PyObject *
send(PyObject *self, PyObject *message)
{
    Said said;
    int noted = DECLINED;
    if (PyDict_CheckExact(message) && read_message(message, &said)) {
        if (IS(said.type, "http.response.body"))
            noted = note_body(self, &said);
        else if (IS(said.type, "http.response.start"))
            noted = note_start(self, &said);
        if (noted == FAILED)
            return NULL;
    }
    PyObject *inner_send = AT(self, Exchange_inner_send);
    if (noted == DECLINED || inner_send == NULL) {
        PyErr_Clear();
        return PyObject_CallFunctionObjArgs(the_send, self, message, NULL);
    }
    Py_INCREF(inner_send);
    PyObject *answer = PyObject_CallOneArg(inner_send, message);
    Py_DECREF(inner_send);
    return answer;
}

static PyMethodDef send_method = {"send", send, METH_O, NULL};

/* --- MeterMiddleware.__call__ */

/* What it returns: a coroutine, as far as whoever awaits one can tell. It goes on with the
   app's, and is one frame less for each request. */
typedef struct {
    PyObject_HEAD
    PyObject *middleware, *scope, *receive, *send;
    PyObject *exchange, *token; /* NULL where nothing of it is metered here */
    PyObject *awaited;          /* the app's coroutine, or that of the way in Python */
    enum { NEW, WAITING, RUNNING, OVER } state;
} Call;

static PyTypeObject CallType;

/* Begin to meter; return what the app is given. */
static int
make_exchange(Call *call, PyObject **receiving, PyObject **sending)
{
    int64_t started, now;
    PyObject *middleware = call->middleware;
    int asked = ask_clock(the_asgi_names, text_perf_counter_ns, &monotonic, &started);
    if (asked == DONE)
        asked = ask_clock(the_asgi_names, text_time_ns, &of_the_day, &now);
    if (asked != DONE)
        return asked;
    PyObject *exchange = NULL, *start_ns = PyLong_FromLongLong(started);
    PyObject *time_ms = PyLong_FromLongLong(divided(now, 1000000));
    if (start_ns != NULL && time_ms != NULL
        && PyDict_SetItem(call->scope, the_scope_key, start_ns) == 0) {
        PyObject *fields[] = {AT(middleware, Metering_meter), start_ns, time_ms, middleware,
                              call->scope, call->receive, call->send};
        exchange = PyObject_Vectorcall(classes[Compiled], fields, 7, NULL);
    }
    Py_XDECREF(time_ms);
    Py_XDECREF(start_ns);
    if (exchange == NULL)
        return FAILED;
    /* As its attributes; looking for these would cost as much as calling them. */
    *receiving = PyMethod_New(the_receive, exchange);
    *sending = PyCFunction_NewEx(&send_method, exchange, NULL);
    if (*receiving != NULL && *sending != NULL)
        call->token = PyContextVar_Set(the_current_event, exchange);
    if (call->token == NULL) {
        Py_DECREF(exchange);
        return FAILED;
    }
    call->exchange = exchange;
    return add_to(&AT(the_traffic, Traffic_started), 1) == DONE ? DONE : FAILED;
}

/* Tell whether it is metered here: not a websocket, what is left out, or one that a
   middleware outside of this one meters already. */
static int
is_usual(Call *call)
{
    PyObject *middleware = call->middleware, *scope = call->scope;
    if (!is_a(middleware, Metering) || !PyDict_CheckExact(scope))
        return 0;
    if (!IS(PyDict_GetItemWithError(scope, text_type), "http")
        || PyDict_GetItemWithError(scope, the_scope_key) != NULL || PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    if (AT(middleware, Metering_exclusion) == Py_None)
        return 1;
    PyObject *answer = PyObject_CallMethodOneArg(middleware, text__is_excluded, scope);
    Py_XDECREF(answer);
    return answer == NULL ? FAILED : answer == Py_False;
}

/* Call the app, or the way in Python. */
static void
begin(Call *call)
{
    PyObject *receiving = NULL, *sending = NULL, *awaited = NULL;
    int made = is_usual(call);
    if (made > 0)
        made = make_exchange(call, &receiving, &sending);
    if (made == DECLINED) {
        PyObject *given[] = {call->middleware, call->scope, call->receive, call->send};
        awaited = PyObject_Vectorcall(the_call, given, 4, NULL);
    } else if (made == DONE) {
        PyObject *given[] = {call->scope, receiving, sending};
        PyObject *app = PyObject_GetAttr(call->middleware, text_app);
        if (app != NULL)
            awaited = PyObject_Vectorcall(app, given, 3, NULL);
        Py_XDECREF(app);
        if (awaited != NULL && !PyCoro_CheckExact(awaited) && !Py_IS_TYPE(awaited, &CallType))
            Py_SETREF(awaited, PyObject_CallOneArg(the_awaiting, awaited));
    }
    Py_XDECREF(sending);
    Py_XDECREF(receiving);
    call->awaited = awaited;
}

static int
leave(Call *call)
{
    PyObject *exchange = call->exchange, *handle = AT(exchange, Exchange_handle);
    if (add_to(&AT(the_traffic, Traffic_ended), 1) != DONE)
        return FAILED;
    set(&AT(exchange, Exchange_left_at), Py_NewRef(AT(the_traffic, Traffic_ended)));
    if (handle != Py_None
        && answered(PyObject_CallMethodOneArg(handle, text_settle, exchange)) == FAILED)
        return FAILED;
    if (PyContextVar_Reset(the_current_event, call->token) < 0) {
        /* Closed by the collector, in somebody else's context. */
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return FAILED;
        PyErr_Clear();
    }
    return DONE;
}

/* As `except BaseException as error:` with its `raise`. */
static void
end_by_error(PyObject *exchange)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *before = PyErr_GetHandledException();
    PyErr_SetHandledException(error);
    int ended = answered(PyObject_CallMethodOneArg(exchange, text_end, error));
    PyErr_SetHandledException(before);
    Py_XDECREF(before);
    if (ended == FAILED)
        Py_DECREF(error); /* the new one has it as its context */
    else
        PyErr_SetRaisedException(error);
}

static int
call_clear(PyObject *self)
{
    Call *call = (Call *)self;
    Py_CLEAR(call->middleware);
    Py_CLEAR(call->scope);
    Py_CLEAR(call->receive);
    Py_CLEAR(call->send);
    Py_CLEAR(call->exchange);
    Py_CLEAR(call->token);
    Py_CLEAR(call->awaited);
    return 0;
}

/* Do what comes behind the app's call; tell whether it has ended well. An error of the
   app's is set where it has not. */
static int
ended(Call *call, int is_well)
{
    PyObject *exchange = call->exchange;
    if (exchange != NULL) {
        if (is_well && AT(exchange, Exchange_is_over) != Py_True)
            is_well = answered(PyObject_CallMethodOneArg(exchange, text_end, Py_None)) == DONE;
        if (!is_well)
            end_by_error(exchange);
        PyObject *error = is_well ? NULL : PyErr_GetRaisedException();
        if (leave(call) == FAILED)
            is_well = 0;
        else if (error != NULL)
            PyErr_SetRaisedException(Py_NewRef(error));
        Py_XDECREF(error);
    }
    call->state = OVER;
    PyObject *error = is_well ? NULL : PyErr_GetRaisedException();
    call_clear((PyObject *)call);
    if (error != NULL)
        PyErr_SetRaisedException(error);
    return is_well;
}

/* Let nobody go on with what runs at this moment, or has ended. */
static int
can_go_on(Call *call)
{
    if (call->state == RUNNING)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else if (call->state == OVER)
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return call->state < RUNNING;
}

static PySendResult
call_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    Call *call = (Call *)self;
    *result = NULL;
    if (!can_go_on(call))
        return PYGEN_ERROR;
    if (call->state == NEW && value != Py_None) {
        PyErr_SetString(
            PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    int is_new = call->state == NEW;
    call->state = RUNNING;
    if (is_new)
        begin(call);
    PySendResult sent = PYGEN_ERROR;
    if (call->awaited != NULL)
        sent = PyIter_Send(call->awaited, value, result);
    if (sent == PYGEN_NEXT) {
        call->state = WAITING;
        return sent;
    }
    Py_CLEAR(*result);
    if (!ended(call, sent == PYGEN_RETURN))
        return PYGEN_ERROR;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
call_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = call_am_send(self, value, &result);
    if (sent == PYGEN_RETURN) {
        Py_DECREF(result);
        PyErr_SetNone(PyExc_StopIteration);
    }
    return sent == PYGEN_NEXT ? result : NULL;
}

static PyObject *
call_next(PyObject *self)
{
    return call_send(self, Py_None);
}

static PyObject *
call_throw(PyObject *self, PyObject *const *given, Py_ssize_t n_given)
{
    Call *call = (Call *)self;
    if (!can_go_on(call))
        return NULL;
    if (call->state == NEW) { /* a coroutine that raises what it is given, and runs nothing */
        PyObject *all[] = {call->middleware, call->scope, call->receive, call->send};
        if ((call->awaited = PyObject_Vectorcall(the_call, all, 4, NULL)) == NULL)
            return NULL;
    }
    call->state = RUNNING;
    PyObject *throw = PyObject_GetAttr(call->awaited, text_throw), *result = NULL;
    if (throw != NULL)
        result = PyObject_Vectorcall(throw, given, n_given, NULL);
    Py_XDECREF(throw);
    if (result != NULL) {
        call->state = WAITING;
        return result;
    }
    int is_well = PyErr_ExceptionMatches(PyExc_StopIteration);
    if (is_well)
        PyErr_Clear();
    if (ended(call, is_well))
        PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *
call_close(PyObject *self, PyObject *nothing)
{
    Call *call = (Call *)self;
    if (call->state == RUNNING)
        return can_go_on(call), NULL;
    if (call->state == WAITING) {
        call->state = RUNNING;
        if (answered(PyObject_CallMethodNoArgs(call->awaited, text_close)) == DONE)
            PyErr_SetNone(PyExc_GeneratorExit);
        ended(call, 0);
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit))
            return NULL;
        PyErr_Clear();
    }
    call->state = OVER;
    call_clear(self);
    Py_RETURN_NONE;
}

static void
call_finalize(PyObject *self)
{
    Call *call = (Call *)self;
    if (call->state == OVER)
        return;
    PyObject *error = PyErr_Occurred() ? PyErr_GetRaisedException() : NULL;
    int done = call->state == NEW
        ? PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", NAME)
        : answered(call_close(self, NULL));
    if (done < 0)
        PyErr_WriteUnraisable(self);
    if (error != NULL)
        PyErr_SetRaisedException(error);
}

static void
call_dealloc(PyObject *self)
{
    if (((Call *)self)->state != OVER && PyObject_CallFinalizerFromDealloc(self) < 0)
        return; /* somebody has it again */
    PyObject_GC_UnTrack(self);
    call_clear(self);
    PyObject_GC_Del(self);
}

static int
call_traverse(PyObject *self, visitproc visit, void *arg)
{
    Call *call = (Call *)self;
    Py_VISIT(call->middleware);
    Py_VISIT(call->scope);
    Py_VISIT(call->receive);
    Py_VISIT(call->send);
    Py_VISIT(call->exchange);
    Py_VISIT(call->token);
    Py_VISIT(call->awaited);
    return 0;
}

static PyObject *
call_name(PyObject *self, void *nothing)
{
    return PyUnicode_FromString(NAME);
}

static PyObject *
call_awaited(PyObject *self, void *nothing)
{
    PyObject *awaited = ((Call *)self)->awaited;
    return Py_NewRef(awaited == NULL ? Py_None : awaited);
}

static PyMethodDef call_methods[] = {
    {"send", call_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))call_throw, METH_FASTCALL, NULL},
    {"close", call_close, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef call_attributes[] = {
    {"__qualname__", call_name, NULL, NULL, NULL},
    {"cr_await", call_awaited, NULL, NULL, NULL},
    {NULL},
};

static PyAsyncMethods call_as_async = {.am_await = PyObject_SelfIter, .am_send = call_am_send};

static PyTypeObject CallType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "meterline.native.Call",
    .tp_basicsize = sizeof(Call),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_async = &call_as_async,
    .tp_iternext = call_next,
    .tp_methods = call_methods,
    .tp_getset = call_attributes,
    .tp_traverse = call_traverse,
    .tp_clear = call_clear,
    .tp_finalize = call_finalize,
    .tp_dealloc = call_dealloc,
};

/* serve(middleware, scope, receive, send) */
static PyObject *
serve(PyObject *module, PyObject *const *given, Py_ssize_t n_given)
{
    if (n_given != 4)
        return PyErr_BadInternalCall(), NULL;
    Call *call = PyObject_GC_New(Call, &CallType);
    if (call == NULL)
        return NULL;
    call->middleware = Py_NewRef(given[0]);
    call->scope = Py_NewRef(given[1]);
    call->receive = Py_NewRef(given[2]);
    call->send = Py_NewRef(given[3]);
    call->exchange = call->token = call->awaited = NULL;
    call->state = NEW;
    PyObject_GC_Track(call);
    return (PyObject *)call;
}

/* A middleware that is called as ASGI says. */
static PyObject *
called(PyObject *self, PyObject *given, PyObject *names)
{
    if (PyTuple_GET_SIZE(given) == 3 && names == NULL) {
        PyObject *all[] = {self, PyTuple_GET_ITEM(given, 0), PyTuple_GET_ITEM(given, 1),
                           PyTuple_GET_ITEM(given, 2)};
        return serve(NULL, all, 4);
    }
    PyObject *method = PyMethod_New(the_call, self);
    if (method == NULL)
        return NULL;
    PyObject *answer = PyObject_Call(method, given, names);
    Py_DECREF(method);
    return answer;
}

/* answer_calls(class): of itself. What is in the class is what others see of it: that it is
   an async function. It counts again as soon as somebody sets it. */
static PyObject *
answer_calls(PyObject *module, PyObject *class)
{
    ((PyTypeObject *)class)->tp_call = called;
    Py_RETURN_NONE;
}

/* --- record */

/* As the condition in `record`: what is said now is surely about this event. */
static int
is_certain(PyObject *event)
{
    int64_t start_ns, born_ns;
    if (AT(event, Exchange_left_at) != zero || AT(the_traffic, Traffic_collecting) != zero
        || !is_number(AT(event, Exchange_start_ns), &start_ns)
        || !is_number(AT(the_traffic, Traffic_born_ns), &born_ns) || start_ns <= born_ns)
        return 0;
    PyObject *handled = PyErr_GetHandledException();
    Py_XDECREF(handled);
    return handled == NULL || handled == Py_None;
}

/* Add to quantities that are there already, as `add_quantity`. */
static int
add_more(PyObject *quantities, PyObject *name, PyObject *quantity)
{
    int64_t known, sum = PyLong_AsLongLong(quantity);
    PyObject *before = PyDict_GetItemWithError(quantities, name);
    if (before == NULL) {
        if (PyDict_GET_SIZE(quantities) >= QUANTITIES_MAX)
            return DECLINED;
    } else if (!is_number(before, &known) || __builtin_add_overflow(known, sum, &sum)) {
        return DECLINED;
    }
    PyObject *total = PyLong_FromLongLong(sum);
    int failed = total == NULL || PyDict_SetItem(quantities, name, total) < 0;
    Py_XDECREF(total);
    return failed ? FAILED : DONE;
}

/* Let the event have its first quantity, as `OpenEvent._begin`. */
static int
add_first(PyObject *event, PyObject *units, PyObject *name, PyObject *quantity)
{
    PyObject *hooks = PyObject_CallNoArgs(the_get_asyncgen_hooks);
    if (hooks == NULL)
        return FAILED;
    int is_watching = Py_IS_TYPE(PyTuple_GET_ITEM(hooks, 0), (PyTypeObject *)the_hook);
    Py_DECREF(hooks);
    if (!is_watching && answered(PyObject_CallNoArgs(the_watch)) == FAILED)
        return FAILED;
    PyObject *quantities = PyDict_New(), *context = PyContext_CopyCurrent();
    int result = FAILED;
    if (quantities != NULL && context != NULL
        && PyDict_SetItem(quantities, name, quantity) == 0) {
        result = DECLINED;
        /* No other thread from here on: who closes it sees them, or has closed it. */
        if (AT(event, Exchange_is_over) == Py_False
            && AT(event, Exchange_quantities) == Py_None) {
            set(&AT(event, Exchange_quantities), Py_NewRef(quantities));
            result = PyDict_SetItem(units, event, context) < 0 ? FAILED : DONE;
        }
    }
    Py_XDECREF(context);
    Py_XDECREF(quantities);
    return result;
}

/* As `OpenEvent.add`, under its lock. */
static int
add_locked(PyObject *event, PyObject *name, PyObject *quantity)
{
    PyObject *quantities = AT(event, Exchange_quantities), *room = room_of(event);
    if (AT(event, Exchange_is_over) != Py_False || quantities == NULL || room == NULL)
        return DECLINED;
    if (quantities != Py_None)
        return PyDict_CheckExact(quantities) ? add_more(quantities, name, quantity) : DECLINED;
    PyObject *units = Py_NewRef(AT(room, Room_units));
    int result = add_first(event, units, name, quantity);
    Py_DECREF(units);
    return result;
}

/* Add a whole number of a name that was checked before, without properties. */
static int
add(PyObject *event, PyObject *name, PyObject *quantity)
{
    int64_t number;
    if (!is_a(event, Exchange) || !PyUnicode_CheckExact(name)
        || !is_number(quantity, &number) || number < 0
        || PySet_Contains(the_good_names, name) != 1 || !is_certain(event))
        return DECLINED;
    PyObject *lock = Py_NewRef(AT(the_traffic, Traffic_lock));
    int result = answered(PyObject_CallMethodNoArgs(lock, text_acquire));
    if (result == DONE)
        result = released(lock, add_locked(event, name, quantity));
    Py_DECREF(lock);
    return result;
}

static PyObject *
record(PyObject *module, PyObject *const *given, Py_ssize_t n_given, PyObject *names)
{
    if (n_given == 2 && names == NULL && the_current_event != NULL) {
        PyObject *event;
        if (PyContextVar_Get(the_current_event, Py_None, &event) < 0)
            return NULL;
        int added = add(event, given[0], given[1]);
        Py_DECREF(event);
        if (added != DECLINED)
            return added == FAILED ? NULL : Py_NewRef(Py_None);
    }
    return PyObject_Vectorcall(the_record, given, n_given, names);
}

static PyMethodDef record_method = {
    "record", (PyCFunction)(void (*)(void))record, METH_FASTCALL | METH_KEYWORDS, NULL};

/* stand_in(record): what is called in its place. */
static PyObject *
stand_in(PyObject *module, PyObject *function)
{
    PyObject *home = PyObject_GetAttrString(function, "__module__");
    PyObject *text = PyObject_GetAttrString(function, "__doc__"), *made = NULL;
    if (text != NULL)
        Py_SETREF(text, PyUnicode_FromFormat(
            "record(name, quantity, /, *, id=None, source=None, **properties)\n--\n\n%S", text));
    if (home != NULL && text != NULL
        && (record_method.ml_doc = PyUnicode_AsUTF8(text)) != NULL) {
        the_record = Py_NewRef(function);
        Py_INCREF(text); /* for ever: the method has its bytes */
        made = PyCFunction_NewEx(&record_method, NULL, home);
    }
    Py_XDECREF(text);
    Py_XDECREF(home);
    return made;
}

/* --- from_trusted_header */

static int
is_name(PyObject *name, PyObject *wanted)
{
    Py_ssize_t n_bytes = PyBytes_GET_SIZE(wanted);
    if (PyBytes_GET_SIZE(name) != n_bytes)
        return 0;
    const char *one = PyBytes_AS_STRING(name), *other = PyBytes_AS_STRING(wanted);
    for (Py_ssize_t i = 0; i < n_bytes; i++)
        if (Py_TOLOWER(one[i]) != other[i])
            return 0;
    return 1;
}

/* Return the value of a header that is there once, as `_only_value`, or None; NULL where
   that is to be found in Python. */
static PyObject *
only_value(PyObject *scope, PyObject *wanted)
{
    if (!PyDict_CheckExact(scope) || PyDict_GetItemWithError(scope, text_wsgi) != NULL)
        return NULL;
    PyObject *headers = PyDict_GetItemWithError(scope, text_headers), *found = Py_None;
    if (headers == NULL || !PyList_CheckExact(headers) || PyErr_Occurred())
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *header = PyList_GET_ITEM(headers, i);
        if (!PyTuple_CheckExact(header) || PyTuple_GET_SIZE(header) != 2)
            return NULL;
        PyObject *name = PyTuple_GET_ITEM(header, 0), *value = PyTuple_GET_ITEM(header, 1);
        if (!PyBytes_CheckExact(name))
            return NULL;
        if (!is_name(name, wanted))
            continue;
        if (!PyBytes_CheckExact(value) || found != Py_None)
            return NULL;
        found = value;
    }
    return found;
}

static int
is_plain(PyObject *value)
{
    const char *bytes = PyBytes_AS_STRING(value);
    Py_ssize_t n_bytes = PyBytes_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < n_bytes; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~' || bytes[i] == ',')
            return 0;
    return n_bytes > 0;
}

/* What `from_trusted_header` returns; bound to the header, and the same in Python. */
static PyObject *
resolve(PyObject *bound, PyObject *scope)
{
    PyObject *value = only_value(scope, PyTuple_GET_ITEM(bound, 0));
    if (value == Py_None)
        return Py_NewRef(Py_None);
    if (value != NULL && is_plain(value))
        return PyUnicode_DecodeASCII(
            PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), NULL);
    PyErr_Clear();
    return PyObject_CallOneArg(PyTuple_GET_ITEM(bound, 1), scope);
}

static PyMethodDef resolve_method = {"resolve", resolve, METH_O, NULL};

/* header_resolver(wanted, resolve) */
static PyObject *
header_resolver(PyObject *module, PyObject *bound)
{
    PyObject *wanted, *in_python;
    if (!PyArg_ParseTuple(bound, "SO", &wanted, &in_python))
        return NULL;
    return PyCFunction_NewEx(&resolve_method, bound, NULL);
}

/* --- the module */

static int
find_places(void)
{
    for (int i = 0; i < N_ATTRIBUTES; i++) {
        PyObject *owner = classes[attributes[i].owner];
        PyObject *found = PyObject_GetAttrString(owner, attributes[i].name);
        if (found == NULL)
            return -1;
        PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type)
            ? ((PyMemberDescrObject *)found)->d_member : NULL;
        Py_DECREF(found); /* its class has it */
        if (member == NULL || member->type != T_OBJECT_EX || member->offset > UINT16_MAX) {
            PyErr_Format(PyExc_TypeError, "%R has no slot %s", owner, attributes[i].name);
            return -1;
        }
        places[i] = (uint16_t)member->offset;
    }
    return 0;
}

static PyObject *
needed(PyObject *names, const char *name)
{
    PyObject *value = PyDict_GetItemString(names, name);
    if (value == NULL)
        PyErr_Format(PyExc_TypeError, "install() needs %s", name);
    return Py_XNewRef(value);
}

/* install(**names): to be called once, with all that is used here. */
static PyObject *
install(PyObject *module, PyObject *nothing, PyObject *names)
{
    for (int i = 0; i < N_CLASSES; i++)
        if ((classes[i] = needed(names, class_names[i])) == NULL)
            return NULL;
    if (find_places() < 0)
        return NULL;
#define TAKE(name) if ((the_##name = needed(names, #name)) == NULL) return NULL;
    GIVEN(TAKE)
    if (!PyCFunction_CheckExact(the_perf_counter_ns) || !PyCFunction_CheckExact(the_time_ns))
        return PyErr_SetString(PyExc_TypeError, "a clock is not Python's"), NULL;
    monotonic.how = PyCFunction_GET_FUNCTION(the_perf_counter_ns);
    of_the_day.how = PyCFunction_GET_FUNCTION(the_time_ns);
    PyTypeObject *exchange = (PyTypeObject *)classes[Exchange];
    PyObject *method = PyDescr_NewMethod(exchange, &send_method);
    int failed = method == NULL || PyObject_SetAttrString(classes[Compiled], "send", method);
    Py_XDECREF(method);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* take(): the CRC of this text, for whoever asks first, and None for all others. There is
   one set of classes here: another interpreter in this process must not bring its own. */
static PyObject *
take(PyObject *module, PyObject *nothing)
{
    static int is_taken;
    if (is_taken)
        Py_RETURN_NONE;
    is_taken = 1;
    return PyLong_FromLongLong(SOURCE_CRC);
}

static PyMethodDef functions[] = {
    {"take", take, METH_NOARGS, NULL},
    {"serve", (PyCFunction)(void (*)(void))serve, METH_FASTCALL, NULL},
    {"answer_calls", answer_calls, METH_O, NULL},
    {"header_resolver", header_resolver, METH_VARARGS, NULL},
    {"stand_in", stand_in, METH_O, NULL},
    {"install", (PyCFunction)(void (*)(void))install, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "meterline.native", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC
PyInit_native(void)
{
#define INTERN(name) \
    if ((text_##name = PyUnicode_InternFromString(#name)) == NULL) return NULL;
    TEXTS(INTERN)
    if ((text_wsgi = PyUnicode_InternFromString("wsgi.version")) == NULL
        || (text_django = PyUnicode_InternFromString("meterline.django")) == NULL
        || (zero = PyLong_FromLong(0)) == NULL)
        return NULL;
    make_crc_table();
    if (PyType_Ready(&AppenderType) < 0 || PyType_Ready(&CallType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddType(module, &AppenderType) < 0)
        Py_CLEAR(module);
    return module;
}
