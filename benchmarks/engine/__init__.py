"""The C engine measured on the models of others, against bars, its own baseline and other engines."""
