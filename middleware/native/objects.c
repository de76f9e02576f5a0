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
    each(Metering, app) each(Metering, meter) each(Metering, resolver) \
    each(Metering, templates) each(Metering, is_starlette) each(Metering, has_matching) \
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
    each(time_ns) each(failed) each(owed) each(spool) each(writer)

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

#if PY_VERSION_HEX < 0x030C0000
#define PyUnstable_Long_IsCompact(number) (-1 <= Py_SIZE(number) && Py_SIZE(number) <= 1)
#define PyUnstable_Long_CompactValue(number) \
    (Py_SIZE(number) * (Py_ssize_t)(number)->ob_digit[0])
#endif

/* Tell whether it is a plain whole number of 64 bits, and which. */
static int
is_number(PyObject *object, int64_t *n)
{
    int overflow = 0;
    if (object == NULL || !PyLong_CheckExact(object))
        return 0;
    if (PyUnstable_Long_IsCompact((PyLongObject *)object)) {
        *n = PyUnstable_Long_CompactValue((PyLongObject *)object);
        return 1;
    }
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

static RARE int
ask_another_clock(PyObject *clock, PyObject *name, int64_t *ns)
{
    if (clock == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_NameError, name);
        return FAILED;
    }
    Py_INCREF(clock);
    PyObject *answer = PyObject_CallNoArgs(clock);
    Py_DECREF(clock);
    int result = answer == NULL ? FAILED : is_number(answer, ns) ? DONE : DECLINED;
    Py_XDECREF(answer);
    return result;
}

/* Ask a clock by its name in a module, where Python looks it up: whoever sets the time, as
   tests do, has set it here as well. Declined where its answer is no plain number. */
static int
ask_clock(PyObject *names, PyObject *name, const Clock *usual, int64_t *ns)
{
    struct timespec now;
    PyObject *clock = PyDict_GetItemWithError(names, name);
    /* As that one does, without the number in between. */
    if (clock == *usual->clock && PyCFunction_GET_FUNCTION(clock) == usual->how
        && clock_gettime(usual->id, &now) == 0) {
        *ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
        return DONE;
    }
    return ask_another_clock(clock, name, ns);
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
static RARE int
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
