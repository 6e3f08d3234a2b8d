from tests.server.chat.conftest import fake

__all__ = ["fake"]
