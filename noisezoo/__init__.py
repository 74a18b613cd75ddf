"""NoiseZoo."""
