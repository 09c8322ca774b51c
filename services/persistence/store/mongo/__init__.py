"""The store in MongoDB.

pymongo imports cryptography, 8 MB, before it finds that PyOpenSSL is not installed. Its asynchronous
API cannot use PyOpenSSL in any case.
"""

import sys

sys.modules["pymongo.pyopenssl_context"] = None  # type: ignore[assignment]  # cannot be imported
