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
