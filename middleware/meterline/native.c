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

#ifndef SOURCE_CRC
#define SOURCE_CRC 0 /* of this file; build_native.py says it */
#endif

#define HEADER_BYTES 12 /* of a record: length, CRC and number; see wire.py */
#define SUBJECT_CHARS_MAX 256
#define QUANTITIES_MAX 32
#define STATUS_MAX 999
#define METHOD_NOT_ALLOWED 405
#define SLOW_US 1000

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
    each(get_asyncgen_hooks) each(hook) each(watch) each(asgi_names) each(exchange_names)

/* Keys of scopes and messages, and methods of Python's. */
#define TEXTS(each) \
    each(type) each(body) each(more_body) each(status) each(method) each(route) \
    each(router) each(path_template) each(user) each(state) each(auth) each(headers) \
    each(acquire) each(release) each(write) each(find_route) each(exact_subject) \
    each(note_unresolved) each(note_failure) each(is_excluded) each(_is_excluded) \
    each(leave_out) each(key_of) each(close) each(encoded) each(settle) \
    each(append) each(_append_elsewhere) each(disconnected) each(perf_counter_ns) each(time_ns)

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

/* Ask a clock by its name in a module, where Python looks it up: whoever sets the time, as
   tests do, has set it here as well. Declined where its answer is no plain number. */
static int
ask_clock(PyObject *names, PyObject *name, int64_t *ns)
{
    PyObject *clock = Py_XNewRef(PyDict_GetItemWithError(names, name));
    if (clock == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_NameError, name);
        return FAILED;
    }
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

/* Return the record of an encoded event that has this number. */
static PyObject *
record_of(PyObject *payload, uint32_t low)
{
    Py_ssize_t n_bytes = PyBytes_GET_SIZE(payload);
    PyObject *record = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + n_bytes);
    if (record == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(record), *bytes = PyBytes_AS_STRING(payload);
    put_number(at, (uint32_t)n_bytes);
    put_number(at + 4, crc32((unsigned char *)bytes, n_bytes, low));
    put_number(at + 8, low);
    memcpy(at + HEADER_BYTES, bytes, n_bytes);
    return record;
}

static int
append_to(PyObject *writer, PyObject *payload)
{
    PyObject *numbers = AT(writer, Writer__numbers), *write = AT(writer, Writer__write);
    PyObject *seq = PyIter_Next(numbers); /* it has no end */
    if (seq == NULL)
        return FAILED;
    PyObject *record = record_of(payload, (uint32_t)PyLong_AsUnsignedLongLongMask(seq));
    PyObject *done = NULL;
    Py_INCREF(write); /* the writer has another one when its segment is full */
    if (record != NULL)
        done = PyObject_CallOneArg(write, record);
    if (done == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        done = PyObject_CallMethodObjArgs(
            writer, text__append_elsewhere, payload, seq, write, NULL);
    }
    Py_DECREF(write);
    Py_XDECREF(record);
    Py_DECREF(seq);
    return answered(done);
}

/* Hand an encoded event to its meter. */
static int
append_event(PyObject *self, PyObject *payload)
{
    PyObject *meter = AT(self, Exchange_meter);
    if (!is_a(meter, Meter) || AT(meter, Meter_append) == NULL || !PyBytes_CheckExact(payload))
        return answered(PyObject_CallMethodOneArg(meter, text_append, payload));
    PyObject *append = Py_NewRef(AT(meter, Meter_append));
    int result;
    if (PyMethod_Check(append) && PyMethod_GET_FUNCTION(append) == the_append
        && is_a(PyMethod_GET_SELF(append), Writer))
        result = append_to(PyMethod_GET_SELF(append), payload);
    else
        result = answered(PyObject_CallOneArg(append, payload));
    Py_DECREF(append);
    return result;
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
    PyObject *payload = NULL;
    if (quantities != NULL)
        payload = encode_event(self, duration_us, quantities, key);
    int result = payload == NULL ? FAILED : append_event(self, payload);
    Py_XDECREF(payload);
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
    int asked = ask_clock(the_exchange_names, text_perf_counter_ns, &end_ns);
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

static int
note_body(PyObject *self, PyObject *message)
{
    PyObject *more = PyDict_GetItemWithError(message, text_more_body);
    if (more != NULL && !PyBool_Check(more)) /* a truth value outlives its message */
        return DECLINED;
    PyObject *body = PyDict_GetItemWithError(message, text_body);
    if (PyErr_Occurred() || (body != NULL && !PyBytes_CheckExact(body)))
        return DECLINED;
    if (body != NULL) {
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
note_start(PyObject *self, PyObject *message)
{
    int64_t number;
    PyObject *status = PyDict_GetItemWithError(message, text_status);
    if (!is_number(status, &number) || number < 0 || number > STATUS_MAX)
        return DECLINED;
    set(&AT(self, Exchange_status), Py_NewRef(status));
    return DONE;
}

static PyObject *
send(PyObject *self, PyObject *message)
{
    int noted = DECLINED;
    if (PyDict_CheckExact(message)) {
        PyObject *type = PyDict_GetItemWithError(message, text_type);
        if (IS(type, "http.response.body"))
            noted = note_body(self, message);
        else if (IS(type, "http.response.start"))
            noted = note_start(self, message);
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

/* --- MeterMiddleware.__call__: what comes before the app's call, and after it */

/* Return the exchange that begins, what the app is given of it, and its token; or None. */
static PyObject *
made(PyObject *middleware, PyObject *scope, PyObject *receive, PyObject *send)
{
    PyObject *exchange = NULL, *token = NULL, *receiving = NULL, *sending = NULL;
    PyObject *all = NULL;
    int64_t started, now;
    int asked = ask_clock(the_asgi_names, text_perf_counter_ns, &started);
    if (asked == DONE)
        asked = ask_clock(the_asgi_names, text_time_ns, &now);
    if (asked != DONE)
        return asked == FAILED ? NULL : Py_NewRef(Py_None);
    PyObject *start_ns = PyLong_FromLongLong(started);
    PyObject *time_ms = PyLong_FromLongLong(divided(now, 1000000));
    if (start_ns != NULL && time_ms != NULL
        && PyDict_SetItem(scope, the_scope_key, start_ns) == 0) {
        PyObject *fields[] = {AT(middleware, Metering_meter), start_ns, time_ms,
                              middleware, scope, receive, send};
        exchange = PyObject_Vectorcall(classes[Compiled], fields, 7, NULL);
    }
    /* As its attributes; looking for these would cost as much as calling them. */
    if (exchange != NULL) {
        receiving = PyMethod_New(the_receive, exchange);
        sending = PyCFunction_NewEx(&send_method, exchange, NULL);
    }
    if (receiving != NULL && sending != NULL)
        token = PyContextVar_Set(the_current_event, exchange);
    if (token != NULL && add_to(&AT(the_traffic, Traffic_started), 1) == DONE)
        all = PyTuple_Pack(4, exchange, receiving, sending, token);
    Py_XDECREF(token);
    Py_XDECREF(sending);
    Py_XDECREF(receiving);
    Py_XDECREF(exchange);
    Py_XDECREF(time_ms);
    Py_XDECREF(start_ns);
    return all;
}

/* begin(middleware, scope, receive, send): what is made of that, or None where the request
   is to be served in Python. */
static PyObject *
begin(PyObject *module, PyObject *const *given, Py_ssize_t n_given)
{
    if (n_given != 4 || !is_a(given[0], Metering) || !PyDict_CheckExact(given[1]))
        Py_RETURN_NONE;
    PyObject *middleware = given[0], *scope = given[1];
    if (!IS(PyDict_GetItemWithError(scope, text_type), "http")
        || PyDict_GetItemWithError(scope, the_scope_key) != NULL || PyErr_Occurred()) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (AT(middleware, Metering_exclusion) != Py_None) {
        PyObject *answer = PyObject_CallMethodOneArg(middleware, text__is_excluded, scope);
        if (answer != Py_False) {
            Py_XDECREF(answer);
            return answer == NULL ? NULL : Py_NewRef(Py_None);
        }
        Py_DECREF(answer);
    }
    return made(middleware, scope, given[2], given[3]);
}

/* leave(exchange, token) */
static PyObject *
leave(PyObject *module, PyObject *const *given, Py_ssize_t n_given)
{
    if (n_given != 2 || !is_a(given[0], Exchange)
        || add_to(&AT(the_traffic, Traffic_ended), 1) != DONE)
        return PyErr_BadInternalCall(), NULL;
    PyObject *exchange = given[0], *handle = AT(exchange, Exchange_handle);
    set(&AT(exchange, Exchange_left_at), Py_NewRef(AT(the_traffic, Traffic_ended)));
    if (handle != Py_None
        && answered(PyObject_CallMethodOneArg(handle, text_settle, exchange)) == FAILED)
        return NULL;
    if (PyContextVar_Reset(the_current_event, given[1]) < 0) {
        /* Closed by the collector, in somebody else's context. */
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return NULL;
        PyErr_Clear();
    }
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
    {"begin", (PyCFunction)(void (*)(void))begin, METH_FASTCALL, NULL},
    {"leave", (PyCFunction)(void (*)(void))leave, METH_FASTCALL, NULL},
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
    return PyModule_Create(&definition);
}
