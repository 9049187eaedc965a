"""Conformance suites: what every backend of a port must do, for backends of your own too.

Subclass a suite in a test module, say which ``backend`` it checks, and give it the fixtures that
its docstring names::

    class TestMyBlobs(BlobsSuite):
        backend = "mine"

        @pytest.fixture
        def blobs(self):
            return MyBlobs(...)
"""
