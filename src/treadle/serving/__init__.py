"""The data plane: the model server, its batching and protocols, and the inference log. Imports no database code."""
