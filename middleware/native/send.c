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

static RARE int
look_up_all(PyObject *message, Said *said)
{
    return look_up(message, text_type, &said->type)
        && look_up(message, text_body, &said->body)
        && look_up(message, text_more_body, &said->more_body)
        && look_up(message, text_status, &said->status);
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
            return look_up_all(message, said);
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
