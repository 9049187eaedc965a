"""What real gRPC clients ask of a model server: ``CLIENT'S-PYTHON grpc_walk.py HOST:PORT NUMERIC
MIXED CLIENT``; the models are those of ``walk.py``, and CLIENT is triton or kserve."""

import queue
import sys

import numpy as np

url, numeric, mixed, client_name = sys.argv[1:]
ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
WANTED = ROWS @ np.array([1, 10, 100])


def tritons() -> None:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(numeric)
    assert client.get_server_metadata().name == "treadle"
    facts = client.get_model_metadata(numeric)
    (version,) = facts.versions
    assert client.is_model_ready(numeric, model_version=version.rpartition(":")[2])
    (told,) = facts.inputs
    assert (told.datatype, list(told.shape)) == ("FP32", [-1, 3])
    states = {model.name: model.state for model in client.get_model_repository_index().models}
    assert states == {numeric: "READY", mixed: "READY"}, states
    given = triton.InferInput(told.name, [2, 3], told.datatype)
    given.set_data_from_numpy(ROWS)
    output = triton.InferRequestedOutput("value")
    for packing in (None, "gzip", "deflate"):
        result = client.infer(
            numeric, [given], outputs=[output], request_id="one", compression_algorithm=packing
        )
        np.testing.assert_allclose(result.as_numpy("value"), WANTED, rtol=1e-6)
        assert result.get_response().id == "one"
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
    assert answers.shape == (2,) and ((answers > 0) & (answers < 1)).all()
    try:
        client.infer("nobody", inputs)
        raise SystemExit("a model that is not there answered")
    except InferenceServerException as error:
        assert error.status() == "StatusCode.NOT_FOUND", error.status()
        assert "no model 'nobody'" in str(error)
    large = triton.InferInput(told.name, [9000, 3], told.datatype)
    large.set_data_from_numpy(np.tile(ROWS, (4500, 1)))
    assert client.infer(numeric, [large]).as_numpy("value").shape == (9000,)
    came: queue.Queue = queue.Queue()
    client.start_stream(callback=lambda result, error: came.put((result, error)))
    for number in range(1000):
        model = "nobody" if number == 500 else numeric
        client.async_stream_infer(model, [given], request_id=f"s{number}")
    for number in range(1000):
        result, error = came.get(timeout=30)
        if number == 500:
            assert "no model 'nobody'" in str(error), error
            continue
        assert error is None, error
        assert result.get_response().id == f"s{number}"
        np.testing.assert_allclose(result.as_numpy("value"), WANTED, rtol=1e-6)
    client.stop_stream()
    client.close()


async def kserves() -> None:
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async with InferenceGRPCClient(url) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(numeric)
        for raw in (True, False):
            given = InferInput(name="numbers", shape=[2, 3], datatype="FP32")
            given.set_data_from_numpy(ROWS, binary_data=raw)
            asked = InferRequest(model_name=numeric, infer_inputs=[given], request_id="k")
            answer = await client.infer(asked)
            np.testing.assert_allclose(answer.outputs[0].as_numpy(), WANTED, rtol=1e-6)
            assert answer.id == "k"


if client_name == "triton":
    tritons()
else:
    import asyncio

    asyncio.run(kserves())
print("ok")
