"""The process that runs a pickled estimator: it reads rows from a socket and writes answers."""

import json
import pickle
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from treadle.backends.runtime.estimators import predict
from treadle.kernel.entity import from_json
from treadle.ports.runtime import Columns, Signature


def main() -> None:
    """Load the model that the command line names, and answer until the socket is closed."""
    pipe, file = Connection(int(sys.argv[1])), Path(sys.argv[2])
    signature = from_json(pipe.recv_bytes(), Signature)
    layout = signature.layout
    try:
        estimator = pickle.loads(file.read_bytes())
    except Exception as error:
        _say(pipe, error=f"'{file.name}' cannot be loaded: {type(error).__name__}: {error}")
        return
    _say(pipe)
    while True:
        try:
            asked, numbers = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        shape = (asked["rows"], len(layout.numbers))
        matrix = np.frombuffer(numbers, dtype=layout.dtype).reshape(shape)
        texts = np.array(asked["texts"], dtype=object).reshape(asked["rows"], len(layout.texts))
        try:
            given = predict(estimator, signature, Columns(layout, matrix, texts))
        except Exception as error:
            _say(pipe, error=f"The model failed: {type(error).__name__}: {str(error)[:500]}")
            continue
        _say(pipe, shape=list(given.shape))
        pipe.send_bytes(given.tobytes())


def _say(pipe: Connection, **header: object) -> None:
    pipe.send_bytes(json.dumps(header).encode())
