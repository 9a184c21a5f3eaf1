"""The parts of tools/reference.py (shapes, models, formula, observe, check, files) and of
tools/reference_training.py (cases, decoder, losses, optimizers, robust, steps, runs)."""
