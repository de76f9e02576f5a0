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
static PyObject *spare_calls[SPARE_MAX];
static int n_spare_calls;

/* Mark the scope as metered, with when it began; declined where it is marked already. */
static int
mark(PyObject *scope, PyObject *start_ns)
{
    Py_ssize_t n_before = PyDict_GET_SIZE(scope);
    if (PyDict_SetDefault(scope, the_scope_key, start_ns) == NULL)
        return FAILED;
    return PyDict_GET_SIZE(scope) > n_before ? DONE : DECLINED;
}

/* Count one more request that has begun, or ended. */
static int
count(int attribute)
{
    int added = add_to(&AT(the_traffic, attribute), 1);
    if (added == DECLINED)
        PyErr_BadInternalCall();
    return added == DONE ? DONE : FAILED;
}

/* Let `record` find the exchange; make what the app is given. */
static int
enter(Call *call, PyObject **receiving, PyObject **sending)
{
    /* As its attributes; looking for these would cost as much as calling them. */
    *receiving = PyMethod_New(the_receive, call->exchange);
    *sending = PyCFunction_NewEx(&send_method, call->exchange, NULL);
    if (*receiving != NULL && *sending != NULL)
        call->token = PyContextVar_Set(the_current_event, call->exchange);
    if (call->token == NULL) {
        Py_CLEAR(call->exchange);
        return FAILED;
    }
    return count(Traffic_started);
}

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
    PyObject *start_ns = PyLong_FromLongLong(started);
    PyObject *time_ms = PyLong_FromLongLong(divided(now, 1000000));
    int made = start_ns == NULL || time_ms == NULL ? FAILED : mark(call->scope, start_ns);
    if (made == DONE) {
        PyObject *fields[] = {AT(middleware, Metering_meter), start_ns, time_ms, middleware,
                              call->scope, call->receive, call->send};
        call->exchange = new_exchange(fields);
    }
    Py_XDECREF(time_ms);
    Py_XDECREF(start_ns);
    if (made != DONE)
        return made;
    return call->exchange == NULL ? FAILED : enter(call, receiving, sending);
}

/* Tell whether it is a request that is to be metered: no websocket, nothing left out. */
static int
is_usual(Call *call)
{
    PyObject *middleware = call->middleware, *scope = call->scope;
    if (!is_a(middleware, Metering) || !PyDict_CheckExact(scope))
        return 0;
    if (!IS(PyDict_GetItemWithError(scope, text_type), "http")) {
        PyErr_Clear();
        return 0;
    }
    if (AT(middleware, Metering_exclusion) == Py_None)
        return 1;
    PyObject *answer = PyObject_CallMethodOneArg(middleware, text__is_excluded, scope);
    Py_XDECREF(answer);
    return answer == NULL ? FAILED : answer == Py_False;
}

/* Return the coroutine of the way in Python. */
static RARE PyObject *
begin_in_python(Call *call)
{
    PyObject *given[] = {call->middleware, call->scope, call->receive, call->send};
    return PyObject_Vectorcall(the_call, given, 4, NULL);
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
        awaited = begin_in_python(call);
    } else if (made == DONE) {
        PyObject *given[] = {call->scope, receiving, sending};
        PyObject *app = AT(call->middleware, Metering_app);
        app = app != NULL ? Py_NewRef(app) : PyObject_GetAttr(call->middleware, text_app);
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
    if (count(Traffic_ended) == FAILED)
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
static RARE void
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

static RARE int
cannot_go_on(Call *call)
{
    if (call->state == RUNNING)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return 0;
}

/* Let nobody go on with what runs at this moment, or has ended. */
static int
can_go_on(Call *call)
{
    return call->state < RUNNING || cannot_go_on(call);
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
    /* That of the way in Python raises what it is given, and runs nothing. */
    if (call->state == NEW && (call->awaited = begin_in_python(call)) == NULL)
        return NULL;
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
    if (n_spare_calls < SPARE_MAX && !PyObject_GC_IsFinalized(self))
        spare_calls[n_spare_calls++] = self;
    else
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
    Call *call = n_spare_calls > 0
        ? (Call *)PyObject_Init(spare_calls[--n_spare_calls], &CallType)
        : PyObject_GC_New(Call, &CallType);
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
