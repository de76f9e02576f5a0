/* --- the walk of spool/scan.py */

static uint32_t
number_at(const unsigned char *at)
{
    uint32_t n = 0;
    for (int i = 0; i < 4; i++)
        n |= (uint32_t)at[i] << 8 * i;
    return n;
}

/* walk(memory, position, last, bytes_max): as in Python. */
static PyObject *
walk(PyObject *module, PyObject *given)
{
    Py_buffer memory;
    Py_ssize_t position, last, bytes_max, n_records = 0;
    if (!PyArg_ParseTuple(given, "y*nnn", &memory, &position, &last, &bytes_max))
        return NULL;
    if (last > memory.len - HEADER_BYTES)
        last = memory.len - HEADER_BYTES;
    while (position >= 0 && position <= last) {
        uint32_t length = number_at((const unsigned char *)memory.buf + position);
        if (length == 0 || length > bytes_max)
            break;
        n_records++;
        position += HEADER_BYTES + length;
    }
    PyBuffer_Release(&memory);
    return Py_BuildValue("nn", position, n_records);
}
