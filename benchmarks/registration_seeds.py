"""The pairs of benchmarks/registration.py, frozen before any registration existed; never tune on them."""

SEEDS = range(2000, 2100)  # thinning="mixed": evenly, in patches and one-sided together
EVEN_SEEDS = range(2200, 2220)  # thinning="even"
ONE_SIDED_SEEDS = range(2300, 2310)  # thinning="one_sided"
