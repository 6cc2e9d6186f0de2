"""Firmware on emulated machines: what is executed, counted, and kept in memory."""
