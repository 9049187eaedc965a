"""The last way to package a model: as it is, for the library that trained it."""

import site
import sys
import sysconfig
from typing import Any

import numpy as np

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Exported, Field, Signature, Way


def library_way(estimator: Any, signature: Signature) -> Way:
    """Return the way that keeps an estimator as a pickle.

    Classes and functions of the pipeline's own code are kept in it by value. It is run in a process
    of its own, and only where the model is trusted by name.

    Args:
        estimator: The trained estimator.
        signature: Its signature.
    """
    return Way("its own library", lambda: _pickled(estimator, signature))


def fields_of(example: Any) -> list[Field]:
    """Return a frame's columns as the fields of a signature.

    Args:
        example: A frame of example inputs.
    """
    kinds = {str(name): np.asarray(example[name]).dtype.kind for name in example.columns}
    return [
        Field(name=name, kind="number" if kind in "fiub" else "text")
        for name, kind in kinds.items()
    ]


def _pickled(estimator: Any, signature: Signature) -> Exported:
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise missing_extra("train", "Keeping a model as it is") from error
    try:
        content = bytes(_by_value(cloudpickle, estimator))
    except Exception as error:
        name = type(estimator).__name__
        raise Invalid(f"{name} cannot be pickled: {str(error).splitlines()[0][:300]}") from error
    return Exported(content, replace(signature, runtime="library", precision="float64"))


def _by_value(cloudpickle: Any, estimator: Any) -> Any:
    """The pickle, with what the pipeline's own modules define written into it, not only named."""
    installed = (sysconfig.get_path("stdlib"), *site.getsitepackages(), site.getusersitepackages())
    own = [
        module
        for name, module in list(sys.modules.items())
        if str(getattr(module, "__file__", None)).endswith(".py")
        and not str(module.__file__).startswith(installed)
        and name.partition(".")[0] not in ("__main__", "treadle")
    ]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(estimator)
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
