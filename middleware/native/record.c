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
