"""What every compiled kernel stands on: how it is compiled, random numbers, packed bits, fast tanh."""
