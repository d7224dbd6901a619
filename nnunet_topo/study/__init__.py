"""Which loss helps on my data? Trainings of several trainers, seeds and data sets, and an honest comparison."""
