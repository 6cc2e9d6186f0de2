"""The commands: each parses, calls one function of a stage, and prints. Heavy imports happen inside them."""
