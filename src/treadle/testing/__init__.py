"""Conformance suites: what every backend of a port must do. They ship with the package, for backends of your own.

Subclass a suite in a test module, say which ``backend`` it checks, and give it the fixture it asks for::

    class TestMyBlobs(BlobsSuite):
        backend = "mine"

        @pytest.fixture
        def blobs(self):
            return MyBlobs(...)
"""
