"""Plans a training before machines are rented: what fits, how, how fast, at what price."""
