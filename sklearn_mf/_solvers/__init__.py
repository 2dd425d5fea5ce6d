"""How parameters are found: the loop of all solvers, and a package for each method."""
