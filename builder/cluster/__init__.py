"""Scripts that start a build on several machines: SLURM, Hugging Face Jobs, or a plain list of hosts."""
