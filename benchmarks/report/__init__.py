"""A measurement told: as tables and as JSON."""
