"""Runs llama-cpp-python's examples/server/server.py: `example_server.py CONFIGURATION SERVER_PY`

It imports the bindings of the multimodal library, which our wheel is built without, and uses them
for pictures and sound only. An empty module stands in for them; all else is as it was.
"""

import runpy
import sys
from tempfile import NamedTemporaryFile
from types import ModuleType

configuration, server = sys.argv[1:]
sys.modules["llama_cpp.mtmd_cpp"] = ModuleType("llama_cpp.mtmd_cpp")
with NamedTemporaryFile("w", suffix=".json") as file:
    file.write(configuration)
    file.flush()
    sys.argv = [server, "-C", file.name]
    runpy.run_path(server, run_name="__main__")
