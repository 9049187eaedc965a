"""Steps in Python, the graph they form, the cache of what they made, and the jobs that run them."""
