"""Label sets: what labellers said of items, how far they agree, and what may be wrong."""
