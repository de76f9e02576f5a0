/* The way of nearly every request, compiled: parts of asgi.py, exchange.py, recording.py,
   subjects.py, spool/writer.py and spool/segment.py, which say in Python what is right.

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
#define SOURCE_CRC 0 /* of all files here; build_native.py says it */
#endif

#define HEADER_BYTES 12 /* of a record: length, CRC and number; see wire.py */
#define SUBJECT_CHARS_MAX 256
#define QUANTITIES_MAX 32
#define STATUS_MAX 999
#define METHOD_NOT_ALLOWED 405
#define SLOW_US 1000
#define NAME "MeterMiddleware.__call__"

/* For what few requests need: it stands apart from what each runs through, so that the
   processor fetches less of it. */
#define RARE __attribute__((cold, noinline))

enum { FAILED = -1, DECLINED, DONE }; /* an exception; to be done in Python; done */

/* One after the other, as each uses those before it. */
#include "objects.c"
#include "append.c"
#include "pack.c"
#include "header.c"
#include "walk.c"
#include "write.c"
#include "send.c"
#include "exchange.c"
#include "call.c"
#include "record.c"

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
    if (find_places() < 0 || take_over_exchanges() < 0)
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
    {"walk", walk, METH_VARARGS, NULL},
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
