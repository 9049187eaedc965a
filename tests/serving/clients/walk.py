"""What real clients ask of a model server: ``CLIENT'S-PYTHON walk.py URL NUMERIC MIXED``, the names
of two models there.

NUMERIC takes three numbers a row and gives their weighted sum; MIXED takes colour, size and weight.
"""

import asyncio
import sys

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tritonclient.utils import InferenceServerException

url, numeric, mixed = sys.argv[1:]
ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
WANTED = ROWS @ np.array([1, 10, 100])


def tritons() -> None:
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(numeric)
    (version,) = client.get_model_metadata(numeric)["versions"]
    assert client.is_model_ready(numeric, model_version=version.rpartition(":")[2])
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    (told,) = client.get_model_metadata(numeric)["inputs"]
    assert told["datatype"] == "FP32"
    assert told["shape"] == [-1, 3]
    for binary_in in (True, False):
        for binary_out in (True, False):
            given = triton.InferInput(told["name"], [2, 3], told["datatype"])
            given.set_data_from_numpy(ROWS, binary_data=binary_in)
            output = triton.InferRequestedOutput("value", binary_data=binary_out)
            result = client.infer(numeric, [given], outputs=[output], request_id="one")
            np.testing.assert_allclose(result.as_numpy("value"), WANTED, rtol=1e-6)
            assert result.get_response()["id"] == "one"
    for compression in (None,):
        result = client.infer(numeric, [given], request_compression_algorithm=compression)
        np.testing.assert_allclose(result.as_numpy("value"), WANTED, rtol=1e-6)
    inputs = []
    for name, kind, values in (
        ("colour", "BYTES", np.array(["red", "blue"], dtype=object)),
        ("size", "FP32", np.array([1.5, 2.5], dtype=np.float32)),
        ("weight", "FP64", np.array([0.0, 1.0])),
    ):
        tensor = triton.InferInput(name, [2], kind)
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    answers = client.infer(mixed, inputs).as_numpy("probability")
    assert answers.shape == (2,)
    assert ((answers > 0) & (answers < 1)).all()
    try:
        client.infer("nobody", inputs)
    except InferenceServerException as error:
        assert "no model 'nobody'" in str(error)
    else:
        raise AssertionError("a model that is not there answered")
    handles = [client.async_infer(numeric, [given]) for _ in range(20)]
    for handle in handles:
        np.testing.assert_allclose(handle.get_result().as_numpy("value"), WANTED, rtol=1e-6)


async def kserves() -> None:
    second = InferenceRESTClient(config=RESTConfig(protocol="v2"))
    assert await second.is_server_live(url)
    assert await second.is_server_ready(url)
    assert await second.is_model_ready(url, numeric)
    given = InferInput(name="numbers", shape=[2, 3], datatype="FP32")
    given.set_data_from_numpy(ROWS, binary_data=False)
    asked = InferRequest(model_name=numeric, infer_inputs=[given])
    answer = await second.infer(url, asked, model_name=numeric)
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), WANTED, rtol=1e-6)
    first = InferenceRESTClient(config=RESTConfig(protocol="v1"))
    assert await first.is_model_ready(url, numeric)
    told = await first.infer(url, {"instances": ROWS.tolist()}, model_name=numeric)
    np.testing.assert_allclose(told["predictions"], WANTED, rtol=1e-6)
    await first.close()
    await second.close()


tritons()
asyncio.run(kserves())
print("ok")
