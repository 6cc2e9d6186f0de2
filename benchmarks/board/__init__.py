"""Firmware on real boards, and cycles that were measured there beside those that are modelled."""
