"""Loads a server: ``PYTHON grpc_load.py HOST:PORT SECONDS [stream]``; prints calls a second."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

CONNECTIONS, MESSAGES = 32, 5000


def request() -> service_pb2.ModelInferRequest:
    asked = service_pb2.ModelInferRequest(model_name="numeric")
    asked.inputs.add(name="numbers", datatype="FP32", shape=[1, 3])
    asked.raw_input_contents.append(np.arange(3, dtype="<f4").tobytes())
    return asked


async def main(url: str, seconds: float, stream: bool) -> float:
    async with grpc.aio.insecure_channel(url) as channel:
        stub, asked = service_pb2_grpc.GRPCInferenceServiceStub(channel), request()
        await stub.ModelInfer(asked)
        if stream:
            return await streamed(stub, asked)
        began = time.perf_counter()

        async def caller() -> int:
            count = 0
            while time.perf_counter() < began + seconds:
                await stub.ModelInfer(asked)
                count += 1
            return count

        counts = await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
        return sum(counts) / (time.perf_counter() - began)


async def streamed(
    stub: service_pb2_grpc.GRPCInferenceServiceStub, asked: service_pb2.ModelInferRequest
) -> float:
    async def messages() -> AsyncIterator[service_pb2.ModelInferRequest]:
        for _ in range(MESSAGES):
            yield asked

    began, answers = time.perf_counter(), 0
    async for _ in stub.ModelStreamInfer(messages()):
        answers += 1
    assert answers == MESSAGES
    return MESSAGES / (time.perf_counter() - began)


print(asyncio.run(main(sys.argv[1], float(sys.argv[2]), "stream" in sys.argv)))
