"""Training: nnU-Net's trainer with topology terms in its loss, their settings, and what the loader makes."""
