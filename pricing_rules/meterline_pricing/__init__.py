"""Turns usage into charges and invoices. Pure: no I/O, no clock, no floats."""
