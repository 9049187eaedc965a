"""The data plane: model server, batching, protocols and inference log. Imports no database code."""
