"""How the CPU kernels of all packages are compiled, and where their machine code is kept."""
