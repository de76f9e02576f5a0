/* --- Exchange.write, for HTTP */

static RARE int
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
    int is_ours = PyCFunction_CheckExact(resolver)
        && PyCFunction_GET_FUNCTION(resolver) == resolve;
    PyObject *subject = is_ours ? resolve(PyCFunction_GET_SELF(resolver), scope)
        : PyObject_CallOneArg(resolver, scope);
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
static RARE int
is_left_out(PyObject *self)
{
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
static RARE PyObject *
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

/* Append an event that is closed, encoded in Python. */
static RARE int
append_encoded(PyObject *self, int64_t duration_us, PyObject *quantities, PyObject *key)
{
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
add_one(PyObject *owner, PyObject *name)
{
    PyObject *n = PyObject_GetAttr(owner, name);
    int added = n == NULL ? FAILED : add_to(&n, 1);
    if (added == DONE && PyObject_SetAttr(owner, name, n) < 0)
        added = FAILED;
    Py_XDECREF(n);
    return added;
}

/* Count an event that is closed, and that the end of the app's stack has cost: without a
   call, as there is none to be had. Any other error is left as it is. */
static RARE int
count_owed(PyObject *self)
{
    PyObject *meter = AT(self, Exchange_meter), *spool = NULL, *writer = NULL;
    if (!PyErr_ExceptionMatches(PyExc_RecursionError) || !is_a(meter, Meter))
        return FAILED;
    PyErr_Clear();
    PyObject *shipper = Py_XNewRef(AT(meter, Meter_shipper));
    int counted = shipper == NULL ? DECLINED : add_one(meter, text_failed);
    if (counted == DONE && shipper == Py_None)
        counted = add_one(meter, text_owed);
    else if (counted == DONE && (spool = PyObject_GetAttr(shipper, text_spool)) != NULL
             && (writer = PyObject_GetAttr(spool, text_writer)) != NULL)
        counted = add_one(writer, text_owed);
    Py_XDECREF(writer);
    Py_XDECREF(spool);
    Py_XDECREF(shipper);
    if (counted != DONE && !PyErr_Occurred())
        PyErr_BadInternalCall();
    return PyErr_Occurred() ? FAILED : DONE;
}

/* Append an event that is closed. */
static int
append_closed(PyObject *self, int64_t duration_us, PyObject *quantities, PyObject *key)
{
    Packed packed;
    int result = key == Py_None && pack_event(&packed, self, duration_us, quantities) == DONE
        ? append_event(self, packed.bytes, packed.n)
        : append_encoded(self, duration_us, quantities, key);
    return result == FAILED ? count_owed(self) : result;
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
    int is_out = AT(middleware, Metering_exclusion) == Py_None ? 0 : is_left_out(self);
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
static RARE int
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

/* Return a method as it is recorded; NULL where that is to be found in Python. */
static PyObject *
known_method(PyObject *method)
{
    if (method == NULL || !PyUnicode_CheckExact(method) || !PyUnicode_IS_COMPACT_ASCII(method))
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(the_methods); i++) {
        PyObject *known = PyTuple_GET_ITEM(the_methods, i);
        if (is_text(known, PyUnicode_DATA(method), PyUnicode_GET_LENGTH(method)))
            return known;
    }
    return NULL;
}

static int
write_event(PyObject *self)
{
    PyObject *middleware = AT(self, Exchange_middleware), *scope = AT(self, Exchange_scope);
    int64_t start_ns, end_ns, took_ns;
    if (!is_whole(self) || !is_a(middleware, Metering) || !PyDict_CheckExact(scope)
        || !is_number(AT(self, Exchange_start_ns), &start_ns))
        return write_in_python(self);
    PyObject *method = known_method(PyDict_GetItemWithError(scope, text_method));
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
