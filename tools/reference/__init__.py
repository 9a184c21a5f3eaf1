"""The parts of tools/reference.py: shapes, models, formula, observe, check, files."""
