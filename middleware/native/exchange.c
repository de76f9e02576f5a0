/* --- how an exchange is made, and freed */

#define SPARE_MAX 32 /* are kept, as many requests begin while others end */

/* All that an exchange has stands behind its head, one attribute beside the other. */
#define SLOTS(exchange) ((PyObject **)((PyObject *)(exchange) + 1))
#define N_SLOTS Metering_app /* the first attribute of another class */
#define N_FIELDS Exchange_subject /* the first that has a value by itself */

static PyObject *usual_exchange; /* has these values, and no fields */
static PyObject *spare_exchanges[SPARE_MAX];
static int n_spare_exchanges;

/* Return one as its class would make it, with what it is made of. */
static PyObject *
new_exchange(PyObject *const fields[N_FIELDS])
{
    PyTypeObject *type = (PyTypeObject *)classes[Compiled];
    PyObject *self = n_spare_exchanges > 0
        ? PyObject_Init(spare_exchanges[--n_spare_exchanges], type)
        : PyObject_GC_New(PyObject, type);
    if (self == NULL)
        return NULL;
    for (int i = 0; i < N_SLOTS; i++)
        SLOTS(self)[i] = Py_XNewRef(SLOTS(usual_exchange)[i]);
    for (int i = 0; i < N_FIELDS; i++)
        AT(self, i) = Py_NewRef(fields[i]);
    PyObject_GC_Track(self);
    return self;
}

static void
exchange_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    for (int i = 0; i < N_SLOTS; i++)
        Py_XDECREF(SLOTS(self)[i]);
    if (type == (PyTypeObject *)classes[Compiled] && n_spare_exchanges < SPARE_MAX)
        spare_exchanges[n_spare_exchanges++] = self;
    else
        PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Make and free them here from now on. The ways that do so for any class take five times
   as long. */
static int
take_over_exchanges(void)
{
    PyTypeObject *type = (PyTypeObject *)classes[Compiled];
    if (type->tp_basicsize != sizeof(PyObject) + N_SLOTS * sizeof(PyObject *)) {
        PyErr_SetString(PyExc_TypeError, "an exchange has other attributes");
        return -1;
    }
    PyObject *nothing[N_FIELDS];
    for (int i = 0; i < N_FIELDS; i++)
        nothing[i] = Py_None;
    usual_exchange = PyObject_Vectorcall(classes[Compiled], nothing, N_FIELDS, NULL);
    if (usual_exchange == NULL)
        return -1;
    for (int i = 0; i < N_FIELDS; i++)
        set(&AT(usual_exchange, i), NULL);
    type->tp_dealloc = exchange_dealloc;
    return 0;
}
